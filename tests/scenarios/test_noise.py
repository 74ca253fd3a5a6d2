"""noise: its four transition matrices, computed by hand and with loops."""

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scenarios
from robustkd.errors import UsageError
from scenarios.noise import Noise
from tests.scenarios.labelled import assert_rejected, balanced_view, cifar_view, count_transitions, make_view

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
def test_counts_match_those_computed_by_hand(words: str, matrix: list[list[int]]) -> None:
    before = make_view(THREE, 3)
    counts = count_transitions(before, scenarios.parse(words)(before))
    # Some cells of the frequency rows are not integers: 6/7 and 1.43 of 2, 2.57 and 4.5 of 5.
    assert np.abs(np.array(counts) - matrix).max() <= (1 if "frequency" in words else 0)
    assert [sum(row) for row in counts] == [60, 30, 10]


@given(
    labels=st.lists(st.integers(0, 4), min_size=2, max_size=60).filter(lambda labels: len(set(labels)) > 1),
    rate=st.floats(0, 1),
    convention=st.sampled_from(["exclusive", "inclusive"]),
    targets=st.sampled_from(["uniform", "frequency"]),
)
@settings(max_examples=150, deadline=None)
def test_matrix_matches_its_definition(
    labels: list[int],
    rate: float,
    convention: Literal["exclusive", "inclusive"],
    targets: Literal["uniform", "frequency"],
) -> None:
    matrix = Noise(rate, convention, targets).transition_matrix(make_view(labels, 5))
    for i in range(5):
        weights = [labels.count(j) if targets == "frequency" else 1 for j in range(5)]
        total = sum(weights) - (weights[i] if convention == "exclusive" else 0)
        wrong = [rate * weights[j] / total if j != i else 0.0 for j in range(5)]
        wrong[i] = 1 - sum(wrong)
        assert matrix[i].tolist() == pytest.approx(wrong, abs=1e-12)


def test_third_rule_of_rolt_is_inclusive_at_a_higher_rate() -> None:
    before = scenarios.parse("longtail(100, cap=own)")(balanced_view(5000, 10))
    shares = before.counts / len(before)
    kept = 1 - float(shares @ shares)
    assert kept == pytest.approx(0.7465, abs=1e-4)
    requested = Noise(0.4 / kept, "inclusive", "frequency").corruption_rates(before)
    assert float(requested @ shares) == pytest.approx(0.4)


def test_frequency_equals_uniform_for_equal_class_sizes() -> None:
    before = balanced_view(50, 10)
    for convention in ("exclusive", "inclusive"):
        words = f"noise(0.4, convention={convention}, targets={{}})"
        assert len({scenarios.parse(words.format(how))(before).digest for how in ("uniform", "frequency")}) == 1


def test_empty_classes_are_never_targets_and_empty_views_are_accepted() -> None:
    before = make_view([0] * 50 + [2] * 50, 4)
    assert scenarios.parse("noise(0.5, targets=frequency)")(before).counts.tolist() == [50, 0, 50, 0]
    assert len(scenarios.parse("noise(0.5, targets=frequency)")(make_view([], 4))) == 0
    assert scenarios.parse("noise(0, targets=frequency)")(make_view([1] * 5, 3)).labels.tolist() == [1] * 5


@pytest.mark.parametrize("words", ["noise1.4", "noise-0.1", "noise"])
def test_a_rate_outside_0_to_1_or_none_is_rejected(words: str) -> None:
    with pytest.raises(UsageError):
        scenarios.parse(words)


def test_invalid_values_are_rejected() -> None:
    only = make_view([1] * 5, ("cat", "dog"))
    assert_rejected("noise(0.4, targets=frequency)", only, "only class 'dog' is shown", "targets=uniform")
    assert_rejected("noise(0.4, targets=frequent)", only, "'uniform' or 'frequency'")
    assert_rejected("noise(0.4, 3)", only, "convention is 3")


@pytest.mark.parametrize(("words", "kept"), [("noise0.4", 3000), ("noise(rate=0.4, convention=inclusive)", 3200)])
def test_noise_is_exact_in_every_class(words: str, kept: int) -> None:
    matrix = np.array(count_transitions(cifar_view(), scenarios.parse(words)(cifar_view())))
    assert np.diag(matrix).tolist() == [kept] * 10
    off = matrix[~np.eye(10, dtype=bool)]
    assert off.max() - off.min() <= 1, "the wrong labels of a class are spread evenly"


@given(
    labels=st.lists(st.integers(0, 5), min_size=1, max_size=120),
    rate=st.floats(0, 1),
    more=st.floats(0, 1),
    seed=st.integers(0, 3),
)
@settings(max_examples=150, deadline=None)
def test_noise_counts_and_nests_for_any_labels(labels: list[int], rate: float, more: float, seed: int) -> None:
    view = make_view(np.array(labels), 6, seed)
    low, high = (Noise(r)(view) for r in sorted((rate, more)))
    for scenario_rate, after in zip(sorted((rate, more)), (low, high), strict=True):
        changed = after.labels != view.labels
        for label in range(6):
            count = int((view.labels == label).sum())
            assert int(changed[view.labels == label].sum()) == round(round(scenario_rate * count, 6))
        assert len(after) == len(view)
    wrong = low.labels != view.labels
    assert np.array_equal(low.labels[wrong], high.labels[wrong]), "a larger rate keeps the same wrong labels"


def test_draws_depend_on_the_seed() -> None:
    noise = scenarios.parse("noise0.2")
    assert noise(cifar_view(seed=1)).digest == noise(cifar_view(seed=1)).digest
    assert noise(cifar_view(seed=1)).digest != noise(cifar_view(seed=2)).digest


def test_wrong_labels_are_uniform_over_classes() -> None:
    # Five flips per class and nine targets: over many seeds all targets are equally frequent.
    views = [balanced_view(10, 10, seed) for seed in range(200)]
    total = sum(np.array(count_transitions(before, Noise(0.5)(before))) for before in views)
    off = np.asarray(total)[~np.eye(10, dtype=bool)]
    assert abs(off.mean() - 200 * 5 / 9) < 1e-9
    assert off.std() < 12, "binomial spread would be about 7"
