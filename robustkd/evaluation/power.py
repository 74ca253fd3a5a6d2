"""The power of a study's comparisons: which true differences it would find, and how many seeds others would take.

A comparison over n seeds has the standard error sqrt(sd^2 / n + c), where sd is the standard deviation of the paired
difference over seeds, and c the variance over test images, which seeds do not reduce (`Variances.images_alone` in
crossed.py). Its power at a true difference is that of a two-sided t test with this error, of a noncentral t distribution with
Satterthwaite's degrees of freedom: n - 1 where c is 0. Holm's correction is counted in full, as alpha / m for m comparisons,
which is what the first of them has to pass.
"""

from typing import NamedTuple

import numpy as np
from scipy import optimize, stats

from robustkd.evaluation.significance import ALPHA, MIN_SEEDS

POWER = 0.8  # the usual aim: a true difference is found in four of five studies
MAX_SEEDS = 1000  # beyond this number a difference is called out of reach
FAR = 30.0  # standard errors, from which the normal part of a noncentral t is its mean, and scipy's value is not finite
MANY_DEGREES = 1e4  # of freedom, from which t is normal


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
    of_seeds = spread.seeds**2 / n
    variance = of_seeds + spread.images**2
    if variance == 0:
        return float(difference != 0)
    degrees = variance**2 / of_seeds**2 * (n - 1) if of_seeds > 0 else np.inf
    shift, level = abs(difference) / np.sqrt(variance), ALPHA / comparisons / 2
    if degrees > MANY_DEGREES:
        return float(stats.norm.sf(stats.norm.isf(level) - shift))
    critical = stats.t.isf(level, degrees)
    if shift > FAR:
        return float(stats.chi2.cdf(degrees * (shift / critical) ** 2, degrees))
    return float(stats.nct.sf(critical, degrees, shift))


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
