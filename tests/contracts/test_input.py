"""Whatever a user types ends in a value or in one short sentence: a UsageError."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import scenarios
from robustkd.criteria import CRITERIA
from robustkd.errors import UsageError, as_one_line
from robustkd.evaluation.attack_specs import parse_attacks
from robustkd.method_sets import expand_methods
from robustkd.method_spec import MethodSpec
from robustkd.methods import METHODS
from robustkd.models import MODELS
from robustkd.specs import parse_value, split_at
from robustkd.study.options import StudyOptions

PIECES = [
    *("hinton", "noise", "imbalance", "resnet", "gce", "torchvision:", "timm:", "fgsm", "manifest", "file", "alpha"),
    *("(", ")", "[", "]", "{", "}", ",", "+", "-", "=", ".", "'", '"', " ", "\\", "\n", "\0", "\x1b[31m", "%s", "../"),
    *("0", "0.4", "1e9", "-1", "nan", "inf", "1_0", "None", "True", "\u0663", "\u00b2", "\uff11", "\ud7ff", "猫", "💥"),
]
TYPED = st.one_of(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), st.text(max_size=40))


def load(spec: Any) -> None:
    spec.kwargs()


PARSERS: dict[str, Callable[[str], object]] = {
    "method": lambda text: MethodSpec.parse(text).check(),
    "methods": lambda text: [MethodSpec.parse(part) for part in expand_methods(text)],
    "scenario": scenarios.parse,
    "net": lambda text: load(MODELS.parse(text)),
    "criterion": lambda text: load(CRITERIA.parse(text)),
    "attack": parse_attacks,
    "value": parse_value,
    "list": lambda text: split_at(text, ","),
}


def check_parser(name: str, text: str) -> None:
    try:
        PARSERS[name](text)
    except UsageError as error:
        message = as_one_line(str(error))
        assert message
        assert message.isprintable()
        assert len(message) <= 300


@pytest.mark.parametrize("name", PARSERS)
@example("(" * 5000)
@example("[" * 100_000)
@example("hinton(" + "(" * 900 + ")" * 900 + ")")
@example("hinton(alpha=" + "-" * 900 + "1)")
@example("noise" + "9" * 900)
@example("noise(rate=" + "9" * 900 + ")")
@example("hinton(alpha=\u0663)")
@example("noise\u0663")
@example("x" * 1001)
@given(text=TYPED)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_typed_is_parsed_or_refused(name: str, text: str) -> None:
    check_parser(name, text)


@pytest.mark.slow
@pytest.mark.parametrize("name", PARSERS)
@given(text=TYPED)
@settings(max_examples=1300, deadline=None)
def test_ten_thousand_texts_are_parsed_or_refused(name: str, text: str) -> None:
    check_parser(name, text)


@given(text=TYPED)
@settings(max_examples=200, deadline=None)
def test_a_method_that_is_accepted_is_spelled_in_one_way(text: str) -> None:
    try:
        spec = MethodSpec.parse(text)
    except UsageError:
        return
    again = MethodSpec.parse(spec.text)
    assert again.text == spec.text
    for mine, theirs in ((again.method, spec.method), (again.criterion, spec.criterion)):
        assert repr((mine.positional, sorted(mine.named.items()))) == repr(
            (theirs.positional, sorted(theirs.named.items()))
        )


def test_every_default_method_is_its_own_spelling() -> None:
    assert [MethodSpec.parse(name).text for name in METHODS] == list(METHODS)
    assert [spec.text for spec in StudyOptions(scenario="clean").method_specs()] == ["baseline", "hinton", "dml"]
