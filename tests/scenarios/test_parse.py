"""Parsing of scenarios and chains."""

import re

import pytest

import scenarios
from robustkd.errors import UsageError
from scenarios.base import Chain
from scenarios.clean import Clean
from scenarios.longtail import LongTail
from scenarios.noise import Noise


def test_values_are_positional_or_named_and_steps_are_joined_by_a_plus() -> None:
    assert scenarios.parse("noise0.4") == scenarios.parse(" noise(rate=0.4) ") == Noise(0.4)
    chain = scenarios.parse("longtail(10, order=reversed) + noise(0.2, draws=independent)+clean")
    assert chain == Chain((LongTail(10, "reversed"), Noise(0.2, draws="independent"), Clean()))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("nois0.4", "no scenario is called 'nois' (did you mean 'noise'?)"),
        ("noise0.4+", "there is nothing on one side of a '+'"),
        ("+noise0.4", "there is nothing on one side of a '+'"),
        ("noise0.4+step", "needs a value for factor"),
        ("noise(0.4", "a bracket is not closed"),
    ],
)
def test_malformed_text_is_rejected(words: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        scenarios.parse(words)
