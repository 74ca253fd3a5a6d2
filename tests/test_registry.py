"""The grammar, the tables, and the sentences that say what is wrong."""

from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Literal

import pytest

from robustkd import types
from robustkd.errors import UsageError
from robustkd.registry import Entry, Registry, load_plugin
from robustkd.specs import split_at
from robustkd.types import Share


@dataclass(frozen=True)
class Blur:
    """Makes things unclear."""

    amount: Share
    kind: Literal["box", "round"] = "box"
    tint: str = ""


def stacked(channels: int, *, depth: int, wide: bool = False) -> tuple[int, int, bool]:
    return channels, depth, wide


@pytest.fixture
def table() -> Registry:
    entries = {
        "blur": Entry(Blur),
        "soft": Entry(Blur, preset={"amount": 0.1}),
        "stack{depth}": Entry(stacked, examples=("stack3",)),
    }
    return Registry("thing", "nowhere", "robustkd.tests", entries)


@pytest.mark.parametrize("text", ["blur0.4", "blur(0.4)", "blur(amount=0.4)", " blur( amount = 0.4 ) "])
def test_a_first_value_can_be_written_in_four_ways(table: Registry, text: str) -> None:
    assert table.parse(text).kwargs() == {"amount": 0.4}


def test_values_are_numbers_bare_words_and_quoted_strings(table: Registry) -> None:
    word = table.parse('blur(0.4, kind=round, tint="a, b (c)")')
    assert word.kwargs() == {"amount": 0.4, "kind": "round", "tint": "a, b (c)"}
    assert table.parse("blur(0.4, tint=path.csv)").kwargs()["tint"] == "path.csv"


def test_a_preset_is_a_default_that_can_be_overruled(table: Registry) -> None:
    assert table.parse("soft").kwargs() == {"amount": 0.1}
    assert table.parse("soft(amount=0.2)").kwargs() == {"amount": 0.2}


def test_a_template_reads_its_fields_from_the_word(table: Registry) -> None:
    assert table.parse("stack12").kwargs() == {"depth": 12}
    assert table.parse("stack12(wide=True)").kwargs() == {"depth": 12, "wide": True}
    with pytest.raises(UsageError, match="has no parameter 'depth'"):
        table.parse("stack12(depth=3)").kwargs()


def test_other_packages_offer_words_by_entry_points(table: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("far", f"{__name__}:stacked", "robustkd.tests")
    monkeypatch.setattr("robustkd.registry.entry_points", lambda group: [point] if group == "robustkd.tests" else [])
    assert "far" in list(table)
    assert table.parse("far(depth=2)").load() is stacked
    assert table.parse("far(depth=2)").kwargs() == {"depth": 2}


def test_separators_inside_brackets_and_quotes_do_not_split() -> None:
    assert split_at('a(x=1, y="+,"),b+c', ",") == ['a(x=1, y="+,")', "b+c"]
    assert split_at("a(x=1)+b", "+") == ["a(x=1)", "b"]


@pytest.mark.parametrize(
    ("text", "said"),
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
def test_what_is_wrong_is_said_in_one_sentence(table: Registry, text: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        table.parse(text).kwargs()
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["a+", "+a", "a,,b", "a(", 'a("x)', ""])
def test_a_broken_chain_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        split_at(text, "+" if "+" in text else ",")


def test_a_users_file_joins_the_tables(table: Registry, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def smear(*, far: int = 1):\n    '''Smears.'''\n\nSCENARIOS = {'smear': smear}\n")
    load_plugin(str(file), {"SCENARIOS": table})
    assert table.parse("smear(far=3)").kwargs() == {"far": 3}
    assert table["smear"].summary == "Smears."


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no such file"),
        ("1 / 0", "running it failed with ZeroDivisionError"),
        ("x = 1", "it defines none of the dictionaries"),
        ("SCENARIOS = {'blur': print}", "already exists"),
    ],
)
def test_a_users_file_that_cannot_join_is_refused(
    table: Registry, tmp_path: Path, content: str | None, said: str
) -> None:
    file = tmp_path / "mine.py"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UsageError, match=said):
        load_plugin(str(file), {"SCENARIOS": table})


@pytest.mark.parametrize("bound", [types.Positive, types.NonNegative, types.Ratio, types.Share])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_no_bound_lets_through_what_is_no_number(bound, value):
    with pytest.raises(UsageError, match="some: value is"):
        types.validate("some: value", bound, value)


def test_values_may_be_paths_and_pairs_without_quotes():
    read = Registry("thing", "x", "x.x", {"matrix": Entry(dict)}).parse(
        "matrix(file=CIFAR-10_human.pt, map=cat:dog, n=3)"
    )
    assert read.named == {"file": "CIFAR-10_human.pt", "map": "cat:dog", "n": 3}
