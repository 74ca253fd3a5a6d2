"""The grammar of names with parameters, and the errors about them."""

import inspect
from typing import Any

import pytest

from robustkd.errors import UsageError
from robustkd.registry import Entry, Registry
from robustkd.specs import parameter_types, parse_arguments, parse_value, settable_parameters, split_at
from robustkd.types import Share
from tests.helpers import Blur, stacked, toy_registry


@pytest.fixture
def registry() -> Registry:
    return toy_registry()


def test_separators_inside_brackets_and_quotes_do_not_split() -> None:
    assert split_at('a(x=1, y="+,"),b+c', ",") == ['a(x=1, y="+,")', "b+c"]
    assert split_at("a(x=1)+b", "+") == ["a(x=1)", "b"]


@pytest.mark.parametrize("text", ["a+", "+a", "a,,b", "a(", 'a("x)', ""])
def test_incomplete_chains_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        split_at(text, "+" if "+" in text else ",")


def test_values_are_numbers_bare_words_and_quoted_strings(registry: Registry) -> None:
    word = registry.parse('blur(0.4, kind=round, tint="a, b (c)")')
    assert word.kwargs() == {"amount": 0.4, "kind": "round", "tint": "a, b (c)"}
    assert registry.parse("blur(0.4, tint=path.csv)").kwargs()["tint"] == "path.csv"


def test_values_may_be_paths_and_pairs_without_quotes() -> None:
    spec = Registry("thing", "x", "x.x", {"matrix": Entry(dict)}).parse(
        "matrix(file=CIFAR-10_human.pt, map=cat:dog, n=3)"
    )
    assert spec.named == {"file": "CIFAR-10_human.pt", "map": "cat:dog", "n": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("blur1.4", "amount is 1.4 but should be less than or equal to 1"),
        ("blur-0.1", "amount is -0.1 but should be greater than or equal to 0"),
        ("blur", "needs a value for amount, as in blur(amount=VALUE)"),
        ("blurr0.4", "no thing is called 'blurr0.4' (did you mean 'blur'?)"),
        ("stak3", "did you mean 'stack3'?"),
        ("blur(amont=0.4)", "has no parameter 'amont' (did you mean 'amount'?); it has: amount, kind, tint"),
        ("blur(0.4, kind=box, tint=x, 3)", "is not a list such as"),
        ("blur(0.4, box, x, y)", "takes at most 3 values"),
        ("blur(0.4, amount=0.3)", "sets amount twice"),
        ("blur(0.4, kind=boks)", "kind is 'boks' but should be 'box' or 'round'"),
        ("blur(amount=much)", "amount is 'much' but should be a valid number"),
        ("0.4", "is not of the form"),
        ("", "is not of the form"),
    ],
)
def test_errors_are_one_sentence(registry: Registry, text: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        registry.parse(text).kwargs()
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1e-3", 1e-3),
        ("-2", -2),
        ("True", True),
        ("None", None),
        ('"3"', "3"),
        ("cat:dog", "cat:dog"),
        ("a.csv", "a.csv"),
    ],
)
def test_a_value_is_a_literal_or_else_a_bare_word(text: str, value: Any) -> None:
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


def test_arguments_are_positional_then_named() -> None:
    assert parse_arguments("thing", "x(0.4, box, tint='a, b')", "0.4, box, tint='a, b'") == (
        (0.4, "box"),
        {"tint": "a, b"},
    )
    assert parse_arguments("thing", "x()", " ") == ((), {})


@pytest.mark.parametrize(
    ("inside", "message"),
    [("a=1, a=2", "thing 'x' sets a twice"), ("a=1, 2", "is not a list such as"), ("a=", "is not a list")],
)
def test_arguments_that_are_no_list_are_refused(inside: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_arguments("thing", "x", inside)


def test_parameters_after_the_star_are_settable_and_all_of_a_dataclass() -> None:
    def closed(images: object) -> None: ...

    def optional(size: int = 3) -> None: ...

    assert list(settable_parameters(stacked)) == ["depth", "wide"]
    assert list(settable_parameters(Blur)) == ["amount", "kind", "tint"]
    assert settable_parameters(closed) == {}, "ingredients only"
    assert settable_parameters(optional)["size"].default == 3
    assert settable_parameters(Blur)["amount"].default is inspect.Parameter.empty


def test_parameter_types_keep_their_bounds() -> None:
    assert parameter_types(Blur)["amount"] == Share
    assert parameter_types(stacked)["depth"] is int


def test_a_target_within_the_package_is_imported_by_name() -> None:
    registry = Registry("text", "robustkd", "robustkd.tests", {"digest": Entry("hashing:digest")})
    from robustkd.hashing import digest

    assert registry.parse("digest").load() is digest
