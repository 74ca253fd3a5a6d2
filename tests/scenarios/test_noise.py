"""noise: its four matrices, worked by hand and by loops."""

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled import counted, even, refused, view

import scenarios
from scenarios.noise import Noise

THREE = [0] * 60 + [1] * 30 + [2] * 10


@pytest.mark.parametrize(
    ("words", "matrix"),
    [
        ("noise0.2", [[48, 6, 6], [3, 24, 3], [1, 1, 8]]),
        ("noise(0.3, convention=inclusive)", [[48, 6, 6], [3, 24, 3], [1, 1, 8]]),
        ("noise(0.2, targets=frequency)", [[48, 9, 3], [5, 24, 1], [1, 1, 8]]),
        ("noise(0.5, convention=inclusive, targets=frequency)", [[48, 9, 3], [9, 20, 1], [3, 2, 5]]),
    ],
)
def test_counts_are_those_worked_by_hand(words: str, matrix: list[list[int]]) -> None:
    before = view(THREE, 3)
    found = counted(before, scenarios.parse(words)(before))
    # Two cells of the frequency rows are no whole numbers: 6/7 and 1.43 of 2, 2.57 and 4.5 of 5.
    assert np.abs(np.array(found) - matrix).max() <= (1 if "frequency" in words else 0)
    assert [sum(row) for row in found] == [60, 30, 10]


@given(
    labels=st.lists(st.integers(0, 4), min_size=2, max_size=60).filter(lambda labels: len(set(labels)) > 1),
    rate=st.floats(0, 1),
    convention=st.sampled_from(["exclusive", "inclusive"]),
    targets=st.sampled_from(["uniform", "frequency"]),
)
@settings(max_examples=150, deadline=None)
def test_the_matrix_is_its_definition(
    labels: list[int],
    rate: float,
    convention: Literal["exclusive", "inclusive"],
    targets: Literal["uniform", "frequency"],
) -> None:
    matrix = Noise(rate, convention, targets).transition_matrix(view(labels, 5))
    for i in range(5):
        weights = [labels.count(j) if targets == "frequency" else 1 for j in range(5)]
        all_of_them = sum(weights) - (weights[i] if convention == "exclusive" else 0)
        wrong = [rate * weights[j] / all_of_them if j != i else 0.0 for j in range(5)]
        wrong[i] = 1 - sum(wrong)
        assert matrix[i].tolist() == pytest.approx(wrong, abs=1e-12)


def test_rolts_third_rule_is_the_inclusive_one_at_a_higher_rate() -> None:
    before = scenarios.parse("longtail(100, cap=own)")(even(5000, 10))
    shares = before.counts / len(before)
    kept = 1 - float(shares @ shares)
    assert kept == pytest.approx(0.7465, abs=1e-4)
    asked = Noise(0.4 / kept, "inclusive", "frequency").corruption_rates(before)
    assert float(asked @ shares) == pytest.approx(0.4)


def test_frequency_does_what_uniform_does_where_all_classes_are_alike() -> None:
    before = even(50, 10)
    for convention in ("exclusive", "inclusive"):
        words = f"noise(0.4, convention={convention}, targets={{}})"
        assert len({scenarios.parse(words.format(how))(before).digest for how in ("uniform", "frequency")}) == 1


def test_an_empty_class_is_nobodys_target_and_no_labels_are_no_trouble() -> None:
    before = view([0] * 50 + [2] * 50, 4)
    assert scenarios.parse("noise(0.5, targets=frequency)")(before).counts.tolist() == [50, 0, 50, 0]
    assert len(scenarios.parse("noise(0.5, targets=frequency)")(view([], 4))) == 0
    assert scenarios.parse("noise(0, targets=frequency)")(view([1] * 5, 3)).labels.tolist() == [1] * 5


def test_what_cannot_be_is_refused() -> None:
    only = view([1] * 5, ("cat", "dog"))
    refused("noise(0.4, targets=frequency)", only, "only class 'dog' is shown", "targets=uniform")
    refused("noise(0.4, targets=frequent)", only, "'uniform' or 'frequency'")
    refused("noise(0.4, 3)", only, "convention is 3")
