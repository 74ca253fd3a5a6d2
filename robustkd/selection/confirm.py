"""The confirmation of finalists: on fresh seeds and the test set, against plain training and plain training stopped early.

A finalist is better if it surpasses both references: the larger of the two p-values counts, which needs no correction
(an intersection-union test: Berger 1982). Finalists are the best of those that are screened, of which the better half continues
after each of the first seeds. The error of 5 % is divided by the number of all that are screened (Bonferroni), so that it holds
although the best are chosen on the same test set, and over the looks as in `robustkd.selection.sequential`. In clinical trials
this is a design that drops the losers (Sampson & Sill 2005, Drop-the-losers design: normal case). A finalist that is not ahead
of both references after a look is dropped, which can only make a false "better" less likely.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustkd.evaluation.crossed import balanced_variances, half_width, p_value
from robustkd.evaluation.power import Spread
from robustkd.evaluation.significance import ALPHA
from robustkd.selection.sequential import nominal_levels

State = Literal["open", "better", "behind", "not shown"]


class Evidence(NamedTuple):
    """A finalist's difference from a reference over seeds and test images.

    Attributes:
        difference: in balanced accuracy, mean over seeds.
        p: two-sided.
        low, high: at the look's level, so that they hold over all looks.
        spread: over seeds and images.
    """

    difference: float
    p: float
    low: float
    high: float
    spread: Spread


class LookFinding(NamedTuple):
    """What a look shows of a finalist.

    Attributes:
        seeds: that were looked at.
        level: that p had to reach.
        evidence: by reference.
        state: `better`; `behind`, dropped because it is not ahead of both references; `not shown` at the last look; or `open`.
    """

    finalist: str
    seeds: int
    level: float
    evidence: Mapping[str, Evidence]
    state: State


def level_of(looks: tuple[int, ...], look: int, screened: int) -> float:
    """Return the level that a finalist's p-value has to reach at a look.

    Args:
        screened: how many contenders entered the confirmation; the finalists, if none were screened.
    """
    return nominal_levels(looks, ALPHA / screened)[looks.index(look)]


def weigh(
    differences: NDArray[np.float64],
    labels: NDArray[np.int64],
    groups: NDArray[np.int64] | None = None,
    *,
    level: float,
) -> Evidence:
    """Return the evidence in differences of correctness (n, N) on test images with labels and, if any, groups (N,)."""
    by_seed, variances = balanced_variances(differences, labels, groups)
    n, mean = len(by_seed), float(by_seed.mean())
    p, half = float(p_value(np.asarray(mean), variances, n)), float(half_width(variances, n, level))
    seeds = float(np.sqrt(n * np.maximum(variances.seed, variances.within)))
    return Evidence(mean, p, mean - half, mean + half, Spread(seeds, float(np.sqrt(variances.images_alone))))


def judge_look(finalist: str, seeds: int, level: float, evidence: Mapping[str, Evidence], is_last: bool) -> LookFinding:
    """Decide what becomes of a finalist after a look."""
    state: State = "not shown" if is_last else "open"
    if all(each.difference > 0 and each.p <= level for each in evidence.values()):
        state = "better"
    elif any(each.difference <= 0 for each in evidence.values()):
        state = "behind"
    return LookFinding(finalist, seeds, level, evidence, state)
