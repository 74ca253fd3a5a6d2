"""step: two class sizes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scenarios
from robustkd.errors import UsageError
from scenarios.step import Step
from tests.scenarios.labelled import cifar_view, kept_sizes, view_of_sizes


def test_sizes_are_the_published_ones() -> None:
    assert scenarios.parse("step10")(cifar_view()).counts.tolist() == [5000] * 5 + [500] * 5


def test_an_odd_number_of_classes_has_one_more_large_class() -> None:
    assert kept_sizes("step10", [100] * 5) == [100, 100, 100, 10, 10]
    assert kept_sizes("step(10, order=reversed)", [100] * 5) == [10, 10, 100, 100, 100]


# Sizes must not depend on the last bit of a quotient.
@given(least=st.integers(1, 60), factor=st.sampled_from([2, 5, 10, 20, 50, 100, 200]), classes=st.integers(2, 12))
@settings(max_examples=100, deadline=None)
def test_the_last_class_has_the_size_given_by_the_factor(least: int, factor: int, classes: int) -> None:
    counts = Step(factor)(view_of_sizes([least * factor] * classes)).counts
    assert (counts[0], counts[-1]) == (least * factor, least)


def test_sizes_between_two_numbers_are_floored() -> None:
    assert kept_sizes("step10", [29] * 3) == [29, 29, 2]
    assert kept_sizes("step0.3e1", [29, 29]) == [29, 9]


def test_small_classes_that_are_not_reduced_stay_whole_with_cap_own() -> None:
    assert kept_sizes("step(10, cap=own)", [100, 40, 50, 7]) == [100, 40, 10, 7]


@pytest.mark.parametrize("words", ["step", "step1", "step(0.5)", "step(10, cap=all)"])
def test_invalid_values_are_rejected(words: str) -> None:
    with pytest.raises(UsageError):
        scenarios.parse(words)
