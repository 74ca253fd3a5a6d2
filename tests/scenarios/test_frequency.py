"""tail_noise and head_noise: the rate of all labels is met, the law is kept, and nobody is above the cap."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled import counted, even, refused, view

import scenarios
from scenarios.frequency import capped_power_rates
from scenarios.noise import Noise

COUNTS = st.lists(st.integers(0, 400), min_size=2, max_size=12).filter(any)


@given(counts=COUNTS, rate=st.floats(0, 1), power=st.floats(-4, 4), most=st.floats(0.05, 1))
@settings(max_examples=300, deadline=None)
def test_all_labels_have_the_rate_and_classes_the_law(
    counts: list[int], rate: float, power: float, most: float
) -> None:
    rate *= most
    rates = capped_power_rates(np.array(counts), rate, power, most).tolist()
    assert sum(n * r for n, r in zip(counts, rates, strict=True)) == pytest.approx(rate * sum(counts), rel=1e-9)
    assert max(rates) <= most
    assert all(r == 0 for n, r in zip(counts, rates, strict=True) if n == 0)
    free = [(n, r) for n, r in zip(counts, rates, strict=True) if n and r < most * (1 - 1e-9)]
    for n, r in free:  # below the cap all go with the power, by one factor
        assert r * free[0][0] ** power == pytest.approx(free[0][1] * n**power, rel=1e-6, abs=1e-300)
    for n, r in zip(counts, rates, strict=True):  # who is at the cap would by that factor be above it
        if n and free and r >= most * (1 - 1e-9):
            assert free[0][1] * (n / free[0][0]) ** power >= most * (1 - 1e-6)


@given(counts=COUNTS, rates=st.tuples(st.floats(0, 0.9), st.floats(0, 0.9)), power=st.sampled_from([-0.5, 0.5, -2]))
@settings(max_examples=100, deadline=None)
def test_a_larger_rate_lowers_no_classs(counts: list[int], rates: tuple[float, float], power: float) -> None:
    low, high = (capped_power_rates(np.array(counts), rate, power, 0.9) for rate in sorted(rates))
    assert (low <= high + 1e-12).all()


def test_a_rate_at_the_cap_is_the_cap_for_all() -> None:
    # The one label of the last class is left after a million: what rounding leaves of it must not undo the others.
    counts = np.array([10**6, 333_333, 7, 1])
    for power in (-0.5, 0.5):
        assert capped_power_rates(counts, 0.9, power, 0.9).tolist() == pytest.approx([0.9] * 4, rel=1e-6)


# 1,680 of 8,400 labels, shared out as 80 : 40 : 20 (n^(1/2)) or as 512 : 64 : 8 (n^(3/2), in thousands).
@pytest.mark.parametrize(("words", "wrong"), [("tail_noise0.2", [960, 480, 240]), ("head_noise0.2", [1473, 184, 23])])
def test_counts_are_those_worked_by_hand(words: str, wrong: list[int]) -> None:
    before = view(np.repeat(np.arange(3), [6400, 1600, 400]), 3)
    found = counted(before, scenarios.parse(words)(before))
    for i in range(3):
        others = [found[i][j] for j in range(3) if j != i]
        assert sum(others) == wrong[i]
        assert max(others) - min(others) <= 1


@pytest.mark.parametrize("word", ["tail_noise", "head_noise"])
@pytest.mark.parametrize("draws", ["exact", "independent"])
@pytest.mark.parametrize("rate", [0, 0.2, 0.45, 0.9])
def test_it_is_noise_where_all_classes_are_alike(word: str, draws: str, rate: float) -> None:
    before = even(40, 10)
    same = scenarios.parse(f"noise({rate}, draws={draws})")(before)
    assert scenarios.parse(f"{word}({rate}, draws={draws})")(before).digest == same.digest
    assert np.allclose(
        scenarios.parse(f"{word}({rate})").corruption_rates(before), Noise(rate).corruption_rates(before)
    )


def test_the_tail_has_more_of_it_in_tail_noise_and_the_head_in_head_noise() -> None:
    before = scenarios.parse("longtail(100, cap=own)")(even(5000, 10))
    tail, head = (scenarios.parse(f"{word}0.4").corruption_rates(before) for word in ("tail_noise", "head_noise"))
    assert tail[-1] == pytest.approx(0.9), "the rarest are capped"
    assert tail[0] < 0.4 < head[0]
    assert (np.diff(tail) >= 0).all()
    assert (np.diff(head) <= 0).all()
    for word in ("tail_noise", "head_noise"):
        after = scenarios.parse(f"{word}0.4")(before)
        assert (after.labels != before.labels).mean() == pytest.approx(0.4, abs=5 / len(before))


def test_what_cannot_be_is_refused() -> None:
    before = even(10, 3)
    refused("tail_noise0.95", before, "tail_noise", "rate 0.95 is above", "most=0.9", "raise most")
    refused("head_noise(0.5, most=0.4)", before, "head_noise", "most=0.4")
    refused("tail_noise(0.2, power=9)", before, "less than or equal to 4")
    refused("tail_noise(0.2, power=nan)", before, "power is")
    assert len(scenarios.parse("tail_noise0.2")(view([], 3))) == 0
