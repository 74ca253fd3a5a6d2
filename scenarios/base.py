"""What a scenario is: a function from View to View, closed under composition; and the two that most of them derive from."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from robustkd import seeds
from robustkd.data.view import Labels, View, first_by_key

Order = Literal["id", "reversed", "seeded"]
Cap = Literal["smallest", "own"]


class Scenario(ABC):
    """A change of what is shown: other labels, fewer rows, or foreign images."""

    @abstractmethod
    def apply(self, view: View) -> View:
        """The view as this scenario leaves it; the sources stay as they are."""

    def __call__(self, view: View) -> View:
        return replace(self.apply(view), place=view.place + 1)

    def __rshift__(self, after: "Scenario") -> "Chain":
        return Chain((*self, *after))

    def __iter__(self) -> Iterator["Scenario"]:
        """The steps, one after another."""
        yield self

    def asked(self, view: View) -> float:
        """The share of this view's labels that the scenario means to change."""
        return 0.0


@dataclass(frozen=True)
class Chain(Scenario):
    """Scenarios applied left to right."""

    steps: tuple[Scenario, ...]

    def __iter__(self) -> Iterator[Scenario]:
        yield from self.steps

    def __call__(self, view: View) -> View:
        return self.apply(view)  # each step has moved the place on by one already

    def apply(self, view: View) -> View:
        for step in self.steps:
            view = step(view)
        return view


class Thinning(Scenario):
    """Leaves each class a number of its samples: the first by key, so that larger sizes keep a superset."""

    order: Order  # which class stands first on the curve
    cap: Cap  # what limits the curve: the smallest class's count, or each class's own

    @abstractmethod
    def curve(self, most: float, classes: int) -> NDArray[np.float64]:
        """Sizes by position, before rounding by `sizes`, none above `most`: (K,)."""

    def sizes(self, counts: Labels) -> Labels:
        """How many samples each position keeps, of counts in the same order: (K,) -> (K,)."""
        most = counts.min() if self.cap == "smallest" else counts.max()
        return np.minimum(np.rint(self.curve(float(most), len(counts))).astype(np.int64), counts)

    def apply(self, view: View) -> View:
        ranking = ranked(self.order, len(view.classes), view.draw("order"))
        sizes = np.empty_like(view.counts)
        sizes[ranking] = self.sizes(view.counts[ranking])
        chosen, _ = first_by_key(view.labels, view.keys("thin"), sizes)
        return view.take(np.sort(chosen))


class Relabelling(Scenario):
    """Shows other labels by a transition matrix: exact to rounding in every class, whatever the seed."""

    @abstractmethod
    def matrix(self, classes: int) -> NDArray[np.float64]:
        """T[i, j], the share of class i that is shown as j; rows sum to 1: (K, K)."""

    def asked(self, view: View) -> float:
        kept = np.diag(self.matrix(len(view.classes)))
        return float(((1 - kept) * view.counts).sum() / max(1, len(view)))

    def apply(self, view: View) -> View:
        matrix, counts = self.matrix(len(view.classes)), view.counts
        # Rounded twice: 1 - (1 - rate) is not the rate, and a tie must not hang on its last bit.
        flips = np.rint(np.round((1 - np.diag(matrix)) * counts, 6)).astype(np.int64)
        chosen, _ = first_by_key(view.labels, view.keys("flip"), flips)
        targets = [
            deal(np.where(np.arange(len(row)) == i, 0, row), flips[i], view.draw("deal", i))
            for i, row in enumerate(matrix)
            if flips[i]
        ]
        labels = view.labels.copy()
        labels[chosen] = np.concatenate(targets) if targets else labels[chosen]
        return view.relabel(labels)


def ranked(order: Order, classes: int, seed: int) -> Labels:
    """The classes by position on a curve: (K,).

    >>> ranked("reversed", 3, 0)
    array([2, 1, 0])
    """
    if order == "seeded":
        return np.argsort(seeds.keys(seed, np.arange(classes)))
    return np.arange(classes)[:: -1 if order == "reversed" else 1]


def deal(weights: NDArray[np.float64], seats: int, seed: int) -> Labels:
    """Deal seats to weights one by one, by Sainte-Lague's divisors: (K,) -> (seats,).

    After any number of seats each weight has its share, to rounding; more seats continue the same sequence. Equal weights
    take turns in an order that the seed decides, so that no class is favoured for its number.

    >>> np.bincount(deal(np.array([0.5, 0.25, 0.25]), 8, seed=0))
    array([4, 2, 2])
    """
    weighty = np.flatnonzero(weights)
    weights = weights[weighty] / weights.sum()
    # Below this bound on (2s + 1) / w lie at least `seats` divisors, and at most K more.
    each = np.floor((2 * seats + len(weights)) * weights / 2 + 0.5).astype(np.int64)
    who = np.repeat(np.arange(len(weights)), each)
    turn = np.arange(len(who)) - np.repeat(np.cumsum(each) - each, each)
    tie = np.argsort(np.argsort(seeds.keys(seed, weighty)))
    sequence = np.lexsort((tie[who], (2 * turn + 1) / weights[who]))
    return weighty[who[sequence[:seats]]]
