"""Tables of what is registered: all names, or the documentation and parameters of one."""

import pytest

from pipelines.listing import print_registry
from robustkd.errors import UsageError
from robustkd.methods import METHODS
from robustkd.models import MODELS
from robustkd.registry import Entry, Registry
from scenarios import SCENARIOS


def test_a_listed_name_shows_documentation_and_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    print_registry(METHODS, "hinton")
    message = capsys.readouterr().out
    assert "arXiv 1503.02531" in message
    assert "number above 0" in message
    print_registry(METHODS, "rkd_d")
    angle = next(line for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["angle"])
    assert angle.split()[-1] == "0", "the word's own value, not the signature's"
    print_registry(SCENARIOS, "imbalance")
    assert "first or second" in capsys.readouterr().out


def test_a_default_that_is_derived_shows_its_rule_and_a_given_value_itself(capsys: pytest.CaptureFixture[str]) -> None:
    shown = {}
    for word in ("at", "at(weight=7)"):
        print_registry(METHODS, word)
        shown[word] = next(line for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["weight"])
    assert "number from 0" in shown["at"]
    assert "62.5" in shown["at"]
    assert shown["at(weight=7)"].split()[-1] == "7"


def test_each_name_is_listed_with_its_summary_and_examples(capsys: pytest.CaptureFixture[str]) -> None:
    entries = {"net{depth}": Entry("a:b", "A [deep] net", examples=("net8", "net14")), "flat": Entry("a:c", "Plain")}
    print_registry(Registry("net", "nowhere", "robustkd.none", entries), None)
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert [(name, text.strip()) for name, text in lines] == [
        ("net{depth}", "A [deep] net: net8, net14"),
        ("flat", "Plain"),
    ]


def test_values_in_the_name_of_a_network_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    print_registry(MODELS, "wrn_22_4")
    rows = {line.split()[0]: line.split()[-1] for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert (rows["depth"], rows["width"]) == ("22", "4")


def test_a_parameter_without_a_default_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    print_registry(SCENARIOS, "noise")
    rate = [line for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["rate"]][-1]
    assert rate.split()[-1] == "needed"


def test_a_misspelt_name_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match=r"no method is called 'hintn' .did you mean 'hinton'"):
        print_registry(METHODS, "hintn")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("registry", "word", "parameter", "value"),
    [
        (METHODS, "hinton(temperature=7)", "temperature", "7"),
        (METHODS, "hinton(0.5)", "alpha", "0.5"),
        (SCENARIOS, "noise(0.3)", "rate", "0.3"),
        (SCENARIOS, "noise0.3", "rate", "0.3"),
    ],
)
def test_given_values_are_shown(
    capsys: pytest.CaptureFixture[str], registry: Registry, word: str, parameter: str, value: str
) -> None:
    print_registry(registry, word)
    row = [line for line in capsys.readouterr().out.splitlines() if line.split()[:1] == [parameter]][-1]
    assert row.split()[-1] == value


def test_values_out_of_bounds_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="temperature is -1 but should be greater than 0"):
        print_registry(METHODS, "hinton(temperature=-1)")
    assert capsys.readouterr().out == ""
