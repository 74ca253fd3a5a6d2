"""fraction: sizes of every class, and its composition with noise."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scenarios
from robustkd.errors import UsageError
from scenarios.fraction import Fraction
from tests.scenarios.labelled import view_of_sizes


@given(counts=st.lists(st.integers(1, 90), min_size=2, max_size=9), share=st.floats(0.01, 1))
@settings(max_examples=100, deadline=None)
def test_a_fraction_of_each_class_is_never_empty(counts: list[int], share: float) -> None:
    after = Fraction(share)(view_of_sizes(counts))
    assert after.counts.tolist() == [max(1, round(round(share * count, 6))) for count in counts]


def test_a_fraction_leaves_an_empty_class_empty() -> None:
    assert Fraction(0.1)(view_of_sizes([0, 3, 40])).counts.tolist() == [0, 1, 4]


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_a_fraction_and_noise_compose_in_either_order(share: float) -> None:
    view = view_of_sizes([400, 240, 80])
    fraction, noise = scenarios.parse(f"fraction{share}"), scenarios.parse("noise0.25")
    subsampled, noisy = (fraction >> noise)(view), (noise >> fraction)(view)
    assert len(subsampled) == len(noisy) == share * 720
    wrong = subsampled.labels != subsampled.published_labels
    for label, count in enumerate((400, 240, 80)):
        assert wrong[subsampled.published_labels == label].sum() == share * count / 4, "a quarter of the remaining rows"
    assert noisy.counts.tolist() == [share * count for count in scenarios.parse("noise0.25")(view).counts]


@pytest.mark.parametrize("words", ["fraction0", "fraction1.1", "fraction-1", "fraction"])
def test_invalid_values_are_rejected(words: str) -> None:
    with pytest.raises(UsageError):
        scenarios.parse(words)
