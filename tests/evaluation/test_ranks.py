"""Average ranks: the published tables of Demsar, a worked example, scipy, and limits."""

from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
from scipy import stats

from robustkd.evaluation.ranks import critical_difference, friedman_test, lowest_correlation


@pytest.mark.parametrize(("methods", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_critical_values_are_those_of_the_published_table(methods: int, q: float) -> None:
    """Demsar 2006, table 5 (a). With N = k (k + 1) / 6 studies the difference is q itself, at any N it falls as 1 / sqrt(N)."""
    studies = 5 * methods * (methods + 1)
    assert critical_difference(methods, studies) * np.sqrt(30) == pytest.approx(q, abs=1.1e-3)


def test_critical_differences_by_hand() -> None:
    assert critical_difference(29, 8) == pytest.approx(15.9, abs=0.05)
    assert critical_difference(4, 14) == pytest.approx(2.569 * (4 * 5 / (6 * 14)) ** 0.5, abs=1e-3)  # 1.25 in the paper
    assert critical_difference(29, 32) == pytest.approx(critical_difference(29, 8) / 2)
    assert np.isnan(critical_difference(1, 8))


@pytest.mark.parametrize(
    "ranks", [[[1, 2, 3], [1, 2, 3], [2, 1, 3], [1, 2, 3]], [[1, 2.5, 2.5], [1, 2, 3], [2, 2, 2], [1.5, 1.5, 3]]]
)
def test_p_is_the_share_of_all_permutations_with_as_high_a_chi_squared(ranks: list[list[float]]) -> None:
    """Against scipy's statistic over all 1,296 orders of the ranks of four studies, also with ties."""

    def chi2(rows: Any) -> float:
        return float(stats.friedmanchisquare(*np.array(rows).T).statistic)

    every = [chi2(rows) for rows in product(*(permutations(row) for row in ranks))]
    assert friedman_test(ranks) == pytest.approx(np.mean(np.array(every) >= chi2(ranks) - 1e-9))


def test_methods_without_a_difference_are_called_different_in_5_per_cent() -> None:
    rng = np.random.default_rng(0)
    p = [friedman_test(rng.random((8, 6)).argsort(axis=1).argsort(axis=1) + 1.0) for _ in range(300)]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.035)


def test_limits() -> None:
    alike = np.tile(np.arange(1.0, 6), (4, 1))
    assert friedman_test(alike) == 1 / 4096
    assert friedman_test([[1, 2], [2, 1]]) == 1
    assert np.isnan(friedman_test(np.full((3, 4), 2.5)))
    assert np.isnan(friedman_test(alike[:1]))
    assert np.isnan(friedman_test(np.empty((0, 4))))
    assert np.isnan(friedman_test(np.empty((1, 0))))
    rng = np.random.default_rng(1)
    ranks = rng.random((5, 7)).argsort(axis=1) + 1.0
    assert friedman_test(ranks) == pytest.approx(friedman_test(ranks[::-1][:, rng.permutation(7)]), abs=0.03)


def test_the_lowest_correlation_is_that_of_the_groups_that_agree_least() -> None:
    up = [1.0, 2.0, 3.0, 4.0]
    assert lowest_correlation([up, up]) == pytest.approx(1)
    assert lowest_correlation([up, up, up[::-1]]) == pytest.approx(-1)
    # Squared differences 0, 0, 1, 1: 1 - 6 * 2 / (4 * 15) = 0.8.
    assert lowest_correlation([up, [1.0, 2.0, 4.0, 3.0]]) == pytest.approx(0.8)
    assert np.isnan(lowest_correlation([up, [2.5] * 4])), "a group of ties ranks nothing"
    assert np.isnan(lowest_correlation([up]))
