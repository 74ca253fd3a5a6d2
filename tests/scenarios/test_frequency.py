"""tail_noise and head_noise: the overall rate, the power law and the cap."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scenarios
from scenarios.frequency import capped_power_rates
from scenarios.noise import Noise
from tests.scenarios.labelled import assert_rejected, balanced_view, count_transitions, make_view

COUNTS = st.lists(st.integers(0, 400), min_size=2, max_size=12).filter(any)


@given(counts=COUNTS, rate=st.floats(0, 1), power=st.floats(-4, 4), most=st.floats(0.05, 1))
@settings(max_examples=300, deadline=None)
def test_rates_follow_the_power_law_and_average_to_the_overall_rate(
    counts: list[int], rate: float, power: float, most: float
) -> None:
    rate *= most
    rates = capped_power_rates(np.array(counts), rate, power, most).tolist()
    assert sum(n * r for n, r in zip(counts, rates, strict=True)) == pytest.approx(rate * sum(counts), rel=1e-9)
    assert max(rates) <= most
    assert all(r == 0 for n, r in zip(counts, rates, strict=True) if n == 0)
    free = [(n, r) for n, r in zip(counts, rates, strict=True) if n and r < most * (1 - 1e-9)]
    for n, r in free:  # below the cap all rates follow the power law with one factor
        assert r * free[0][0] ** power == pytest.approx(free[0][1] * n**power, rel=1e-6, abs=1e-300)
    for n, r in zip(counts, rates, strict=True):  # the power law with that factor would exceed the cap
        if n and free and r >= most * (1 - 1e-9):
            assert free[0][1] * (n / free[0][0]) ** power >= most * (1 - 1e-6)


@given(counts=COUNTS, rates=st.tuples(st.floats(0, 0.9), st.floats(0, 0.9)), power=st.sampled_from([-0.5, 0.5, -2]))
@settings(max_examples=100, deadline=None)
def test_class_rates_are_monotone_in_the_overall_rate(
    counts: list[int], rates: tuple[float, float], power: float
) -> None:
    low, high = (capped_power_rates(np.array(counts), rate, power, 0.9) for rate in sorted(rates))
    assert (low <= high + 1e-12).all()


def test_at_the_cap_all_classes_have_the_cap() -> None:
    # The last class has one label of over a million: rounding errors in its share must not affect the others.
    counts = np.array([10**6, 333_333, 7, 1])
    for power in (-0.5, 0.5):
        assert capped_power_rates(counts, 0.9, power, 0.9).tolist() == pytest.approx([0.9] * 4, rel=1e-6)


# 1,680 of 8,400 labels, distributed as 80 : 40 : 20 (n^(1/2)) or as 512 : 64 : 8 (n^(3/2), in thousands).
@pytest.mark.parametrize(("words", "wrong"), [("tail_noise0.2", [960, 480, 240]), ("head_noise0.2", [1473, 184, 23])])
def test_counts_match_those_computed_by_hand(words: str, wrong: list[int]) -> None:
    before = make_view(np.repeat(np.arange(3), [6400, 1600, 400]), 3)
    counts = count_transitions(before, scenarios.parse(words)(before))
    for i in range(3):
        others = [counts[i][j] for j in range(3) if j != i]
        assert sum(others) == wrong[i]
        assert max(others) - min(others) <= 1


@pytest.mark.parametrize("word", ["tail_noise", "head_noise"])
@pytest.mark.parametrize("draws", ["exact", "independent"])
@pytest.mark.parametrize("rate", [0, 0.2, 0.45, 0.9])
def test_equals_noise_for_equal_class_sizes(word: str, draws: str, rate: float) -> None:
    before = balanced_view(40, 10)
    same = scenarios.parse(f"noise({rate}, draws={draws})")(before)
    assert scenarios.parse(f"{word}({rate}, draws={draws})")(before).digest == same.digest
    assert np.allclose(
        scenarios.parse(f"{word}({rate})").corruption_rates(before), Noise(rate).corruption_rates(before)
    )


def test_rates_increase_towards_the_tail_in_tail_noise_and_the_head_in_head_noise() -> None:
    before = scenarios.parse("longtail(100, cap=own)")(balanced_view(5000, 10))
    tail, head = (scenarios.parse(f"{word}0.4").corruption_rates(before) for word in ("tail_noise", "head_noise"))
    assert tail[-1] == pytest.approx(0.9), "the rarest class is at the cap"
    assert tail[0] < 0.4 < head[0]
    assert (np.diff(tail) >= 0).all()
    assert (np.diff(head) <= 0).all()
    for word in ("tail_noise", "head_noise"):
        after = scenarios.parse(f"{word}0.4")(before)
        assert (after.labels != before.labels).mean() == pytest.approx(0.4, abs=5 / len(before))


def test_invalid_values_are_rejected() -> None:
    before = balanced_view(10, 3)
    assert_rejected("tail_noise0.95", before, "tail_noise", "rate 0.95 is above", "most=0.9", "raise most")
    assert_rejected("head_noise(0.5, most=0.4)", before, "head_noise", "most=0.4")
    assert_rejected("tail_noise(0.2, power=9)", before, "less than or equal to 4")
    assert_rejected("tail_noise(0.2, power=nan)", before, "power is")
    assert len(scenarios.parse("tail_noise0.2")(make_view([], 3))) == 0
