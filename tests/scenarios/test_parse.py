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


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ("clean", "clean"),
        *(
            (text, "label noise")
            for text in ("noise0.4", "pair0.2", "asym0.4", "instance0.3", "tail_noise0.2", "clean+noise0.2")
        ),
        ("openset(0.2, source=svhn)", "label noise"),
        *((text, "imbalance") for text in ("imbalance0.2", "longtail100", "step10", "counts(file=sizes.csv)")),
        *((text, "both") for text in ("imbalance0.2+noise0.4", "noise0.4+step10")),
        *(
            (text, "other")
            for text in ("fraction0.1", "fraction0.1+noise0.4", "manifest(file=a.csv)", "a_users_own", "noise9")
        ),
    ],
)
def test_the_family_of_a_scenario(text: str, family: str) -> None:
    assert scenarios.scenario_family(text) == family


def test_every_scenario_has_a_family_that_is_known() -> None:
    classes = [scenarios.SCENARIOS.parse(name).load() for name in scenarios.SCENARIOS]
    assert {made.family for made in classes} == {"clean", "label noise", "imbalance", "other"}
