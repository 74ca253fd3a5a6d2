"""Group-sequential tests: a comparison is looked at after 5, 10, 15 and 20 seeds, and its error over all looks is alpha.

At a share t of the seeds, alpha(t) may have been spent. With Lan and DeMets's function of O'Brien and Fleming's kind,

    alpha(t) = 4 (1 - Phi(z_{alpha/4} / sqrt(t))),

early looks stop for large differences only, and the last is nearly a test at alpha (Lan & DeMets 1983, Discrete sequential
boundaries for clinical trials). The bound of look k follows from the distribution of the score B(t_k), a Brownian motion, given
that no earlier bound was crossed. It is computed by integration over the score from look to look (Armitage, McPherson & Rowe
1969). Bounds are given as nominal levels: look k stops if its p-value is at most the level, whatever test the p-value is from
(Jennison & Turnbull 1999, section 4.4). With Student's t test over few seeds the error is 5.1 % instead of 5, and less with an
error of test images, which all looks share: see benchmarks/selection.py.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from robustkd.evaluation.significance import ALPHA

NODES = 160  # of Gauss and Legendre's rule, for the score between two bounds
SEEDS_PER_LOOK = 5
FAR = 12.0  # standard deviations that the score does not reach


def planned_looks(seeds: int) -> tuple[int, ...]:
    """Return the numbers of seeds after which a comparison is looked at.

    >>> planned_looks(20), planned_looks(12)
    ((5, 10, 15, 20), (5, 10, 12))
    """
    return (*range(SEEDS_PER_LOOK, seeds, SEEDS_PER_LOOK), seeds)


def spent_error(share: float, alpha: float = ALPHA) -> float:
    """Return how much of the error may have been spent at a share of the seeds, from 0 to 1."""
    return float(4 * stats.norm.sf(stats.norm.isf(alpha / 4) / np.sqrt(share)))


@cache
def nominal_levels(looks: tuple[int, ...], alpha: float = ALPHA) -> tuple[float, ...]:
    """Return the two-sided levels that p-values have to reach at each look.

    Args:
        looks: increasing numbers of seeds; the last is the planned number.
        alpha: the error over all looks.

    >>> [round(level, 4) for level in nominal_levels((5, 10, 15, 20))]
    [0.0, 0.003, 0.0183, 0.044]
    """
    levels: list[float] = []
    scores, density = np.zeros(1), np.ones(1)  # the score is 0 with certainty before the first look
    time, spent = 0.0, 0.0
    for look in looks:
        share = look / looks[-1]
        step, target = np.sqrt(share - time), spent_error(share, alpha)

        bound = optimize.brentq(_excess, 0, FAR, args=(scores, density, step, target - spent), xtol=1e-12)
        levels.append(float(2 * stats.norm.sf(bound / np.sqrt(share))))
        scores, density = _continue_below(bound, step, scores, density)
        time, spent = share, target
    return tuple(levels)


def _excess(bound: float, scores: NDArray[np.float64], density: NDArray[np.float64], step: float, due: float) -> float:
    """Return by how much the probability of a score beyond a bound at the next look exceeds the error that is due."""
    outside = stats.norm.sf((bound - scores) / step) + stats.norm.cdf((-bound - scores) / step)
    return float(outside @ density) - due


def _continue_below(
    bound: float, step: float, scores: NDArray[np.float64], density: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the scores within a bound, and the probability around each, of what continues after a look."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    following = bound * nodes
    transition = stats.norm.pdf((following[:, None] - scores) / step) / step
    return following, bound * weights * (transition @ density)
