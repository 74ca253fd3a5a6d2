"""Statistical tests of differences between methods over seeds: paired t tests, intervals and corrections for multiple tests.

Runs of one seed share the scenario's random draw, the initial weights and the order of batches, so differences are computed
seed by seed. Inference concerns that randomness on one test set; crossed.py counts test images too, and is what verdicts use
where predictions are recorded. In shapes, n is the number of seeds and m the number of comparisons.

Intervals are those of the t distribution rather than of the bootstrap: for normal differences without a true effect, the 95 %
interval of the bootstrap excludes zero in 16 % of studies at 5 seeds and still in 10 % at 10, whether by percentiles or
bias-corrected.
"""

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

ALPHA = 0.05  # the significance level; intervals have the confidence level 1 - ALPHA
MIN_SEEDS = 5  # below this number no verdict is given
FLIPS = 1 << 12  # of signs, all of which the sign-flip test uses up to 12 seeds, and a random choice beyond
EQUALITY_TOLERANCE = 1e-12  # differences closer than this are equal: sums of floats differ in their last digits

Float64Array = NDArray[np.float64]


class PairedTTest(NamedTuple):
    """Mean differences, their 95 % intervals, and the p-values of the hypothesis that the mean is 0: (m,) each."""

    mean: Float64Array
    low: Float64Array
    high: Float64Array
    p: Float64Array


def paired_t_test(differences: ArrayLike) -> PairedTTest:
    """Perform Student's paired t test, two-sided: differences (n, m), one row per seed -> (m,) each.

    If all differences of a column are 0, so are its mean and interval, and p = 1. If they are all equal but not 0, their
    variance is no estimate: there is no interval, and p is that of the sign test, 2^(1-n). With a single seed, or a NaN in the
    column, there is neither interval nor p.

    >>> result = paired_t_test([[1.0], [2.0], [3.0]])
    >>> [round(float(x[0]), 4) for x in result]
    [2.0, -0.4841, 4.4841, 0.0742]
    """
    d = np.asarray(differences, dtype=np.float64)
    n = len(d)
    undefined = np.full(d.shape[1], np.nan)
    if not n:
        return PairedTTest(undefined, undefined, undefined, undefined)
    mean, low, high, p = d.mean(axis=0), undefined.copy(), undefined.copy(), undefined.copy()
    if n == 1:
        return PairedTTest(mean, low, high, p)
    constant = np.ptp(d, axis=0) < EQUALITY_TOLERANCE
    zero = np.abs(d).max(axis=0) < EQUALITY_TOLERANCE
    varying = ~constant & ~np.isnan(mean)
    if varying.any():
        with warnings.catch_warnings():  # of differences that are almost equal relative to their size
            warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
            test = stats.ttest_1samp(d[:, varying], 0.0)
        low[varying], high[varying] = test.confidence_interval(1 - ALPHA)
        p[varying] = test.pvalue
    p[constant] = 2.0 ** (1 - n)
    p[zero] = 1.0
    mean[zero] = low[zero] = high[zero] = 0.0
    return PairedTTest(mean, low, high, p)


def sign_flip_test(differences: ArrayLike) -> Float64Array:
    """Perform the sign-flip test (Fisher 1935), two-sided: differences (n, m) -> p (m,); NaN for a single seed or with NaN.

    It permutes the two sides of each pair, and assumes that differences are symmetric around 0, not that they are normal. Its
    smallest p is 2^(1-n), so that it cannot confirm any difference at 0.05 below 6 seeds.

    >>> sign_flip_test([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0]]).tolist()
    [0.03125]
    """
    d = np.asarray(differences, dtype=np.float64)
    p = np.full(d.shape[1], np.nan)
    for column in np.flatnonzero(~np.isnan(d).any(axis=0)) if len(d) > 1 else ():
        test = stats.permutation_test(
            (d[:, column],), np.mean, permutation_type="samples", n_resamples=FLIPS, rng=np.random.default_rng(0)
        )
        p[column] = test.pvalue
    return p


def holm(p: ArrayLike) -> Float64Array:
    """Correct p-values to bound the probability of any false positive (Holm 1979): (m,) -> (m,); NaN is kept.

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p)  # NaN last
    m, ranks = int((~np.isnan(p)).sum()), np.arange(len(p))
    stepped = np.maximum.accumulate(np.minimum((m - ranks) * p[order], 1))
    corrected = np.full(p.shape, np.nan)
    corrected[order[:m]] = stepped[:m]
    return corrected


def benjamini_hochberg(p: ArrayLike) -> Float64Array:
    """Convert p-values to q-values that bound the false discovery rate (Benjamini & Hochberg 1995): (m,) -> (m,); NaN is kept.

    >>> benjamini_hochberg([0.01, 0.04, 0.03, float("nan")]).round(3).tolist()
    [0.03, 0.04, 0.04, nan]
    """
    p = np.asarray(p, dtype=np.float64)
    valid = ~np.isnan(p)
    q = np.full(p.shape, np.nan)
    q[valid] = stats.false_discovery_control(p[valid])
    return q


def verdict(seeds: int, mean: float, low: float, p: float) -> str:
    """Summarise a comparison in words, from its mean difference, the lower end of its interval and its corrected p-value.

    >>> verdict(5, 0.02, 0.01, 0.01), verdict(5, -0.02, -0.03, 0.01), verdict(3, 0.02, 0.01, 0.01)
    ('better', 'worse', 'too few seeds')
    >>> verdict(5, 0.0, 0.0, 1.0), verdict(5, 0.0, -0.01, 1.0)
    ('identical', 'no difference shown')
    """
    if seeds < MIN_SEEDS:
        return "too few seeds"
    if p != p:
        return "not measured"
    if mean == low == 0:  # all differences are 0
        return "identical"
    if p < ALPHA:
        return "better" if mean > 0 else "worse"
    return "no difference shown"
