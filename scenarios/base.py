"""The Scenario interface, a composable function from View to View, and base classes for most scenarios."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from robustkd import seeds
from robustkd.data.view import Labels, View, select_smallest_keys

Draws = Literal["exact", "independent"]
Family = Literal["clean", "label noise", "imbalance", "both", "other"]  # of scenarios
GOLDEN_RATIO = (5**0.5 - 1) / 2  # its multiples modulo 1 are spread more evenly than those of any other number


class Scenario(ABC):
    """A change of the labels, rows or images of a view.

    Attributes:
        family: what it is about; ranks of methods are averaged over studies of the same.
    """

    family: ClassVar[Family] = "other"

    @abstractmethod
    def apply(self, view: View) -> View:
        """Return the changed view. Sources are never modified."""

    def __call__(self, view: View) -> View:
        return replace(self.apply(view), position=view.position + 1)

    def __rshift__(self, following: "Scenario") -> "Chain":
        return Chain((*self, *following))

    def __iter__(self) -> Iterator["Scenario"]:
        """Iterate over the steps in order."""
        yield self

    def corruption_rates(self, view: View) -> NDArray[np.float64]:
        """Return the requested fraction of each shown class to corrupt, by another label or a foreign image: (K,)."""
        return np.zeros(len(view.classes))

    def advice(self, view: View) -> str:
        """Return what a user may not expect of this step on a view, and what to do about it; an empty string if nothing."""
        return ""


@dataclass(frozen=True)
class Chain(Scenario):
    """Scenarios applied left to right."""

    steps: tuple[Scenario, ...]

    def __iter__(self) -> Iterator[Scenario]:
        yield from self.steps

    def __call__(self, view: View) -> View:
        return self.apply(view)  # each step has already advanced the position by one

    def apply(self, view: View) -> View:
        for step in self.steps:
            view = step(view)
        return view


class MatrixNoise(Scenario):
    """Label noise by a transition matrix.

    draws = exact          rint((1 - T[i, i]) n_i) samples of class i are relabelled, T[i, j] n_i of them as j up to rounding
    draws = independent    each sample of class i is relabelled as j with probability T[i, j]

    In both cases each sample has its own random number, so that a larger rate changes a superset to the same wrong labels.
    """

    family = "label noise"
    draws: Draws

    @abstractmethod
    def transition_matrix(self, view: View) -> NDArray[np.float64]:
        """Return T[i, j], the fraction of class i that is shown as j; rows sum to 1: (K, K)."""

    def corruption_rates(self, view: View) -> NDArray[np.float64]:
        kept: NDArray[np.float64] = np.diag(self.transition_matrix(view))
        return 1 - kept

    def apply(self, view: View) -> View:
        matrix, labels = self.transition_matrix(view), view.labels.copy()
        rates, wrong = 1 - np.diag(matrix), np.where(np.eye(len(matrix), dtype=bool), 0, matrix)
        chosen, starts = select_corrupted(view, rates, self.draws)
        uniform = seeds.keys_to_uniform(view.keys("target"))
        for i, (row, members) in enumerate(zip(wrong, np.split(chosen, starts[1:]), strict=True)):
            if not len(members):
                continue
            if self.draws == "exact":
                labels[members] = apportion(row, len(members), view.derive_seed("deal", i))
            else:
                cumulative = np.cumsum(row)
                labels[members] = np.searchsorted(cumulative / cumulative[-1], uniform[members], side="right")
        return view.relabel(labels)


def select_corrupted(view: View, rates: NDArray[np.float64], draws: Draws) -> tuple[Labels, Labels]:
    """Select the samples to corrupt by key, at one rate per shown class. A larger rate selects a superset.

    Args:
        view: The rows, under the labels shown.
        rates: (K,) in [0, 1].
        draws: "exact" selects rint(rate n) of each class, "independent" each sample with the class's rate as probability.

    Returns:
        The indices (m,), class by class and by key within each, and the start of each class (K,).
    """
    keys, counts = view.keys("flip"), view.counts
    if draws == "exact":
        # Rounded twice: 1 - (1 - rate) is not exactly the rate, and a tie must not depend on its last bit.
        sizes = np.rint(np.round(rates * counts, 6)).astype(np.int64)
    else:
        sizes = np.bincount(view.labels[seeds.keys_to_uniform(keys) < rates[view.labels]], minlength=len(counts))
    return select_smallest_keys(view.labels, keys, sizes)[0], np.cumsum(sizes) - sizes


def find_family(scenario: Scenario) -> Family:
    """Return the family of a scenario: that of its steps, or `both` where label noise and imbalance are combined."""
    families = {step.family for step in scenario} - {"clean"} or {"clean"}
    if families == {"label noise", "imbalance"}:
        return "both"
    return families.pop() if len(families) == 1 else "other"


def list_advice(scenario: Scenario, view: View) -> list[str]:
    """Return the advice of each step of a scenario on the view that it is applied to."""
    texts = []
    for step in scenario:
        texts.append(step.advice(view))
        view = step(view)
    return [text for text in texts if text]


def apportion(weights: NDArray[np.float64], seats: int, seed: int) -> Labels:
    """Apportion seats to weights one by one, seat t of weight w at time (t + u) / w: (K,) -> (seats,).

    More seats continue the same sequence. Each offset u is uniform in [0, 1), so that a weight too small for a whole seat
    gets one with the right probability; Sainte-Lague's constant u = 1/2 would give these seats to the largest weight. From
    one weight to the next larger one u advances by the golden ratio, so that the total number of seats assigned up to any
    time is right to about one. Equal weights alternate in an order that depends on the seed.

    With n weights, the seats of weight w differ from `seats` w / sum(w) by less than 1 + (n - 2) w / sum(w), and usually by
    little more than 1. The seats of equal weights differ by at most 1.

    >>> np.bincount(apportion(np.array([0.5, 0.25, 0.25]), 8, seed=0))
    array([4, 2, 2])
    """
    positive = np.flatnonzero(weights)
    weights = weights[positive] / weights.sum()
    ascending = np.lexsort((seeds.row_keys(seed, positive), weights))
    positive, weights = positive[ascending], weights[ascending]
    offsets = (GOLDEN_RATIO * np.arange(len(weights)) + seeds.derive(seed, "start") * 2.0**-63) % 1
    offsets = offsets[np.lexsort((offsets, weights))]  # equal weights are in order of their keys, so are their offsets
    # Up to time seats + K, between `seats` and `seats` + K seats are assigned.
    totals = np.floor((seats + len(weights)) * weights - offsets).astype(np.int64) + 1
    owners = np.repeat(np.arange(len(weights)), totals)
    turns = np.arange(len(owners)) - np.repeat(np.cumsum(totals) - totals, totals)
    sequence = np.argsort((turns + offsets[owners]) / weights[owners], kind="stable")
    return positive[owners[sequence[:seats]]]
