"""Average ranks of methods over studies: which of them differ, and whether groups of studies rank the methods alike.

Demsar 2006, Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 7. With k methods ranked in N studies,
Friedman's test asks whether all average ranks are equal. Its p is by permutation of each study's ranks, because the
approximations by chi-squared or F need more studies than a sweep has. Two average ranks differ significantly, at 5 % for all
pairs of methods together, if they are at least Nemenyi's critical difference apart,

    CD = q sqrt(k (k + 1) / (6 N)),    q: the 95 % quantile of the studentized range of k normal numbers, over sqrt(2)

Both take studies as independent, as of different data sets. Scenarios of one data set share its test images.
"""

from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from robustkd.evaluation.significance import ALPHA

PERMUTATIONS = 4095  # of the ranks of every study, drawn where there are more; the smallest p is then 1 / 4096
AGREEMENT = 0.5  # the rank correlation from which groups of studies are said to rank the methods alike


@cache
def critical_difference(methods: int, studies: int) -> float:
    """Return the smallest difference of two average ranks that is significant at 5 % for all pairs of methods together.

    >>> round(critical_difference(29, 8), 1)
    15.9
    """
    if methods < 2 or not studies:
        return float("nan")
    q = stats.studentized_range.isf(ALPHA, methods, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(methods * (methods + 1) / (6 * studies)))


def friedman_test(ranks: ArrayLike) -> float:
    """Return the p-value of the hypothesis that all methods have the same average rank: (N, k) -> p.

    NaN of a single study or method, and where all methods are equal in all studies.

    >>> friedman_test([[1, 2], [1, 2]])  # the second of two studies agrees by chance in half of all cases
    0.5
    """
    r = np.asarray(ranks, dtype=np.float64)
    if len(r) < 2 or r.shape[1] < 2 or not np.ptp(r, axis=1).any():
        return float("nan")

    def variance(*methods: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        of_averages: NDArray[np.float64] = np.mean(methods, axis=axis).var(axis=0)
        return of_averages

    test = stats.permutation_test(
        tuple(r.T),
        variance,  # which increases with Friedman's chi-squared
        permutation_type="samples",  # within studies
        alternative="greater",
        n_resamples=PERMUTATIONS,
        vectorized=True,
        rng=0,
    )
    return float(test.pvalue)


def lowest_correlation(averages: ArrayLike) -> float:
    """Return the lowest of Spearman's correlations between the average ranks of groups of studies: (G, k) -> rho.

    Groups in which all methods are tied rank nothing and are left out; NaN if fewer than two are left.

    >>> round(lowest_correlation([[1, 2, 3], [1, 2, 3], [1, 3, 2]]), 3)
    0.5
    """
    groups: NDArray[np.float64] = np.asarray(averages, dtype=np.float64)
    groups = groups[np.ptp(groups, axis=1) > 0]
    found = [stats.spearmanr(one, other).statistic for one, other in combinations(groups, 2)]
    return float(min(found)) if found else float("nan")
