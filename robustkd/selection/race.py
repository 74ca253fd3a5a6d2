"""A race: contenders are trained to a share of their schedule, judged on held-out rows, and the better ones continue.

It is successive halving (Jamieson & Talwalkar 2016, arXiv:1502.07943) with two changes. Contenders are compared on the same
seeds and rows, and one that is behind by less than the noise is dropped only where no place is left for it. Rungs grow
in epochs or in seeds, because a difference at a part of the schedule is biased, and one of a single seed is uncertain. The
noise contains neither that bias nor, of one seed, the variance over seeds: there only places decide. On few held-out rows many
contenders have equal scores, such as 1 on easy data. Of those, the one that was better over all epochs so far comes first.

Nothing here trains or reads anything: a rung is judged from the arrays of `robustkd.selection.score`.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustkd.selection.score import compare_scores, weighted_correctness

NOISE = 2.0  # standard errors by which a contender may be behind the leader and still be kept
WINDOW = 0.1  # share of the epochs, up to a rung, whose correctness is averaged
DIGITS = 9  # after the decimal point, to which scores are compared

Reason = Literal[
    "", "noise", "places", "unjudged", "failed"
]  # why it was kept or dropped; "" for a place that was earned


class Rung(NamedTuple):
    """A stage of a race.

    Attributes:
        share: of each contender's schedule that it is trained for.
        seeds: how many, counted from the first.
        places: how many contenders continue at most, or become finalists after the last rung.
    """

    share: float
    seeds: int
    places: int


class Standing(NamedTuple):
    """A contender after a rung.

    Attributes:
        score: balanced accuracy on held-out rows; None where it cannot be judged yet, in the first of several phases.
        behind: the leader, as a difference of scores.
        noise: the standard error of that.
        kept: whether it continues.
        reason: of being dropped: `noise`, it is behind by more than that; `places`, none is left for it; or `failed`.
    """

    contender: str
    score: float | None
    behind: float
    noise: float
    kept: bool
    reason: Reason = ""

    def describe(self) -> str:
        """Describe the decision.

        >>> Standing("at", 0.51, 0.062, 0.021, False, "noise").describe()
        'at: 6.2 points behind the leader, more than the noise of 4.2'
        """
        if self.reason == "failed":
            return f"{self.contender}: its training failed"
        if self.score is None:
            return f"{self.contender}: kept without a score, because it is in its first phase"
        if self.reason == "places" and abs(self.behind) < 10**-DIGITS:
            return f"{self.contender}: equals the leader, but no place is left for it"
        behind = f"{self.contender}: {100 * self.behind:.1f} points behind the leader"
        margin = f"the noise of {100 * NOISE * self.noise:.1f}"
        if self.reason == "noise":
            return f"{behind}, more than {margin}"
        if self.reason == "places":
            within = "within" if self.behind <= NOISE * self.noise else "more than"
            return f"{behind}, {within} {margin}; no place is left for it"
        return f"{self.contender}: leads" if abs(self.behind) < 10**-DIGITS else f"{behind}; continues"


def judge_rung(
    correct: Mapping[str, Sequence[NDArray[np.float64]]],
    places: int,
    unjudged: Sequence[str] = (),
    is_partial: bool = False,
    tie_breaks: Mapping[str, float] | None = None,
) -> list[Standing]:
    """Decide who continues after a rung, the best first.

    Args:
        correct: weighted correctness of each contender (N,) for each seed, the same seeds and rows for all.
        places: of those who continue at most; unjudged contenders take none.
        unjudged: contenders that are trained in several phases and are not in the last.
        is_partial: whether the rung ends before the schedule does.
        tie_breaks: of contenders with equal scores, the one with the highest comes first; the score over all epochs so far.
    """
    waiting = [Standing(name, None, 0.0, 0.0, True, "unjudged") for name in unjudged]
    if not correct:
        return waiting
    names, standings = list(correct), compare_scores([np.stack(rows) for rows in zip(*correct.values(), strict=True)])
    earlier = np.array([tie_breaks[name] if tie_breaks else 0.0 for name in names])
    order = np.lexsort((-earlier, -standings.score.round(DIGITS)))
    is_known = not is_partial and min(map(len, correct.values())) > 1
    decided, taken = [], 0
    for place in order:
        behind, noise = float(standings.behind[place]), float(standings.noise[place])
        is_apart = is_known and behind > NOISE * noise and behind > 0
        reason: Reason = "noise" if is_apart else "places" if taken >= places else ""
        taken += not reason
        decided.append(Standing(names[place], float(standings.score[place]), behind, noise, not reason, reason))
    return decided + waiting


def score_rows(
    predicted: NDArray[np.integer], labels: NDArray[np.integer], epochs: int, from_start: bool = False
) -> NDArray[np.float64]:
    """Return what a rung judges of a run: weighted correctness (N,), averaged over the last of its epochs so far.

    Args:
        predicted: classes of the held-out rows after each epoch (e, N).
        labels: of these rows, as given (N,).
        epochs: up to the rung.
        from_start: average over all of them.
    """
    first = 0 if from_start else epochs - window(epochs)
    return weighted_correctness(predicted[first:epochs], labels)


def window(epochs: int) -> int:
    """Return how many epochs up to a rung are averaged.

    >>> window(1), window(8), window(30)
    (1, 1, 3)
    """
    return max(1, round(WINDOW * epochs))
