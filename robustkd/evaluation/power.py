"""The power of a study's comparisons: which true differences it would find, and how many seeds others would take.

A comparison over n seeds has the variance sd^2 / n + c, where sd is the standard deviation of the paired difference over seeds,
and c the variance over test images, which seeds do not reduce (`Variances.images_alone` in crossed.py). A study only has an
estimate of the first part, sd^2 Q / (n (n - 1)), where Q has a chi-squared distribution with n - 1 degrees of freedom, and
calls a method better where the difference exceeds h(Q), half the width of the interval by this estimate. Estimate and mean
are independent for normal differences, so that the power at a true difference d is

    E_Q Phi((d - h(Q)) / sqrt(sd^2 / n + c)),

averaged over Q by Gauss and Legendre's rule in its distribution function. Where c is 0, this is the power of Student's t test:
the tail of a noncentral t distribution, which SciPy has. Holm's correction is counted in full, as alpha / m for m comparisons,
which is what the first of them has to pass.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import optimize, special, stats

from robustkd.evaluation.crossed import Float64Array, Variances, half_width
from robustkd.evaluation.significance import ALPHA, MIN_SEEDS

POWER = 0.8  # the usual aim: a true difference is found in four of five studies
MAX_SEEDS = 1000  # beyond this number a difference is called out of reach
FAR = 30.0  # standard errors, from which the normal part of a noncentral t is its mean, and scipy's value is not finite
NODES, WEIGHTS = (part / 2 for part in np.polynomial.legendre.leggauss(24))  # over (-1/2, 1/2); errors below 0.0003


class Spread(NamedTuple):
    """How much a paired difference varies, in its own unit.

    Attributes:
        seeds: its standard deviation over seeds.
        images: its standard error over test images.
    """

    seeds: float
    images: float = 0.0


def power(difference: float, n: int, spread: Spread, comparisons: int = 1) -> float:
    """Return the probability that n seeds show a true difference, by a verdict of its sign.

    >>> round(power(1.0, 11, Spread(0.9), comparisons=2), 2)
    0.83
    """
    variance = spread.seeds**2 / n + spread.images**2
    if variance == 0:
        return float(difference != 0)
    if spread.images == 0:
        return _power_of_t_test(abs(difference) / np.sqrt(variance), n - 1, ALPHA / comparisons)
    shifts = (abs(difference) - _half_widths(n, spread, comparisons)) / np.sqrt(variance)
    return float(WEIGHTS @ special.ndtr(shifts))


def _power_of_t_test(shift: float, degrees: int, alpha: float) -> float:
    """Return the power of Student's two-sided t test, by the sign of the difference, which is `shift` standard errors."""
    critical = stats.t.isf(alpha / 2, degrees)
    if shift > FAR:
        return float(stats.chi2.cdf(degrees * (shift / critical) ** 2, degrees))
    return float(stats.nct.sf(critical, degrees, shift))


@lru_cache(maxsize=1024)
def _half_widths(n: int, spread: Spread, comparisons: int) -> Float64Array:
    """Return half the widths of the intervals by estimates of the variance over seeds that are larger and larger."""
    estimates = spread.seeds**2 / n * stats.chi2.ppf(NODES + 1 / 2, n - 1) / (n - 1)
    known = np.full_like(estimates, spread.images**2)
    return half_width(Variances(estimates, known, np.zeros_like(estimates)), n, ALPHA / comparisons)


def smallest_difference(n: int, spread: Spread, comparisons: int = 1) -> float:
    """Return the true difference that n seeds show with a probability of 80 %.

    >>> round(smallest_difference(5, Spread(0.9), comparisons=2), 2)
    1.85
    """
    error = np.sqrt(spread.seeds**2 / n + spread.images**2)
    if error == 0:
        return 0.0
    upper = float(error)
    while power(upper, n, spread, comparisons) < POWER:
        upper *= 2
    return float(optimize.brentq(lambda d: power(d, n, spread, comparisons) - POWER, 0, upper, xtol=1e-6))


def seeds_needed(difference: float, spread: Spread, comparisons: int = 1) -> int | None:
    """Return the number of seeds that show a true difference with a probability of 80 %, at least those of a verdict.

    None where no number of seeds does, because the test images are too few.

    >>> seeds_needed(1.0, Spread(0.9), 2), seeds_needed(1.0, Spread(0.9), 28), seeds_needed(1.0, Spread(0.9, 0.5), 2)
    (11, 18, None)
    """
    low, high = MIN_SEEDS - 1, MAX_SEEDS  # power increases with the number of seeds
    if power(difference, high, spread, comparisons) < POWER:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(difference, middle, spread, comparisons) >= POWER else (middle, high)
    return high
