"""Bounds of group-sequential tests: published ones, and the error of a simulated random walk."""

import numpy as np
import pytest
from scipy import stats

from robustkd.selection.sequential import nominal_levels, planned_looks, spent_error


def test_the_bounds_are_the_published_ones() -> None:
    """Of four equal looks at 0.05 with the spending function of O'Brien and Fleming's kind, in standard deviations."""
    bounds = [stats.norm.isf(level / 2) for level in nominal_levels((5, 10, 15, 20))]
    assert bounds == pytest.approx([4.333, 2.963, 2.359, 2.014], abs=0.002)


@pytest.mark.parametrize("looks", [(5, 10, 15, 20), (5, 10, 12), (5,)])
@pytest.mark.parametrize("alpha", [0.05, 0.02])
def test_a_random_walk_crosses_the_bounds_with_the_error_that_was_asked_for(
    looks: tuple[int, ...], alpha: float
) -> None:
    walks = np.random.default_rng(0).normal(size=(200_000, looks[-1])).cumsum(axis=1)
    crossed = np.zeros(len(walks), bool)
    for look, level in zip(looks, nominal_levels(looks, alpha), strict=True):
        crossed |= 2 * stats.norm.sf(np.abs(walks[:, look - 1]) / np.sqrt(look)) <= level
    assert crossed.mean() == pytest.approx(alpha, abs=4 * np.sqrt(alpha / 200_000))


def test_the_error_is_spent_late_and_whole() -> None:
    spent = [spent_error(share) for share in (0.25, 0.5, 0.75, 1.0)]
    assert spent == sorted(spent)
    assert spent[0] < 1e-4
    assert spent[-1] == pytest.approx(0.05)


def test_one_look_is_an_ordinary_test() -> None:
    assert nominal_levels((7,)) == pytest.approx((0.05,))


def test_looks_are_after_every_five_seeds_and_the_last() -> None:
    assert planned_looks(5) == (5,)
    assert planned_looks(7) == (5, 7)
    assert planned_looks(20) == (5, 10, 15, 20)
