"""What a scenario is: a function from View to View, closed under composition; and what most of them derive from."""

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
Draws = Literal["exact", "independent"]
GOLDEN_RATIO = (5**0.5 - 1) / 2  # its multiples, modulo 1, lie more evenly than any other number's


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

    def corruption_rates(self, view: View) -> NDArray[np.float64]:
        """The share of each class shown that the scenario means to corrupt, by another label or a foreign image: (K,)."""
        return np.zeros(len(view.classes))


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


class Subsampling(Scenario):
    """Leaves each class a number of its samples: the first by key, so that larger sizes keep a superset."""

    @abstractmethod
    def class_sizes(self, view: View) -> Labels:
        """How many samples of each class stay, none above its count: (K,)."""

    def apply(self, view: View) -> View:
        chosen, _ = first_by_key(view.labels, view.keys("thin"), self.class_sizes(view))
        return view.take(np.sort(chosen))


class SizeCurve(Subsampling):
    """Class sizes along a curve."""

    order: Order  # which class stands first on the curve
    cap: Cap  # what limits the curve: the smallest class's count, or each class's own

    @abstractmethod
    def curve_sizes(self, most: float, classes: int) -> NDArray[np.float64]:
        """Sizes by position, before rounding, none above `most`: (K,)."""

    def class_sizes(self, view: View) -> Labels:
        counts, ranking = view.counts, order_classes(self.order, len(view.classes), view.draw("order"))
        # A class that the held-out rows lack must not take all others with it.
        most = counts[counts > 0].min(initial=counts.max()) if self.cap == "smallest" else counts.max()
        sizes = np.empty_like(counts)
        sizes[ranking] = np.rint(self.curve_sizes(float(most), len(counts)))
        return np.minimum(sizes, counts)


class MatrixNoise(Scenario):
    """Shows other labels by a transition matrix.

    draws = exact          rint((1 - T[i, i]) n_i) of class i are shown as others, of which j has T[i, j] n_i to rounding
    draws = independent    each sample of class i is shown as j with probability T[i, j]

    Either way a sample's draw is its own: a larger rate changes a superset, to the same wrong labels.
    """

    draws: Draws

    @abstractmethod
    def transition_matrix(self, view: View) -> NDArray[np.float64]:
        """T[i, j], the share of class i that is shown as j; rows sum to 1: (K, K)."""

    def corruption_rates(self, view: View) -> NDArray[np.float64]:
        kept: NDArray[np.float64] = np.diag(self.transition_matrix(view))
        return 1 - kept

    def apply(self, view: View) -> View:
        matrix, labels = self.transition_matrix(view), view.labels.copy()
        rates, wrong = 1 - np.diag(matrix), np.where(np.eye(len(matrix), dtype=bool), 0, matrix)
        chosen, starts = select_corrupted(view, rates, self.draws)
        uniform = seeds.keys_to_uniform(view.keys("target"))
        for i, (row, mine) in enumerate(zip(wrong, np.split(chosen, starts[1:]), strict=True)):
            if not len(mine):
                continue
            if self.draws == "exact":
                labels[mine] = apportion(row, len(mine), view.draw("deal", i))
            else:
                shares = np.cumsum(row)
                labels[mine] = np.searchsorted(shares / shares[-1], uniform[mine], side="right")
        return view.relabel(labels)


def select_corrupted(view: View, rates: NDArray[np.float64], draws: Draws) -> tuple[Labels, Labels]:
    """Who is corrupted at a rate for each class shown, by key: a larger rate takes a superset.

    Args:
        rates: (K,) in [0, 1].
        draws: exact takes rint(rate n) of each class, independent each sample with the class's rate as probability.

    Returns:
        The indices, class by class and by key within each: (m,); and where each class begins: (K,).
    """
    keys, counts = view.keys("flip"), view.counts
    if draws == "exact":
        # Rounded twice: 1 - (1 - rate) is not the rate, and a tie must not hang on its last bit.
        sizes = np.rint(np.round(rates * counts, 6)).astype(np.int64)
    else:
        sizes = np.bincount(view.labels[seeds.keys_to_uniform(keys) < rates[view.labels]], minlength=len(counts))
    return first_by_key(view.labels, keys, sizes)[0], np.cumsum(sizes) - sizes


def order_classes(order: Order, classes: int, seed: int) -> Labels:
    """The classes by position on a curve: (K,).

    >>> order_classes("reversed", 3, 0)
    array([2, 1, 0])
    """
    if order == "seeded":
        return np.argsort(seeds.row_keys(seed, np.arange(classes)))
    return np.arange(classes)[:: -1 if order == "reversed" else 1]


def apportion(weights: NDArray[np.float64], seats: int, seed: int) -> Labels:
    """Deal seats to weights one by one: seat t of weight w is due at (t + u) / w: (K,) -> (seats,).

    More seats continue the same sequence. The starts u are each uniform in [0, 1), so that a weight too small for a whole
    seat gets one as often as it should, where Sainte-Lague's constant u = 1/2 gives all of theirs to the largest. From one
    weight to the next larger one u moves on by the golden ratio, so that the seats due at any time are as many as they
    should be, to about one. Equal weights take turns in an order that the seed decides.

    With n weights, a weight's seats differ from w / sum(w) times `seats` by less than 1 + (n - 2) w / sum(w), and as a rule
    by little more than 1; equal weights' seats differ among themselves by at most 1.

    >>> np.bincount(apportion(np.array([0.5, 0.25, 0.25]), 8, seed=0))
    array([4, 2, 2])
    """
    weighty = np.flatnonzero(weights)
    weights = weights[weighty] / weights.sum()
    rising = np.lexsort((seeds.row_keys(seed, weighty), weights))
    weighty, weights = weighty[rising], weights[rising]
    start = (GOLDEN_RATIO * np.arange(len(weights)) + seeds.derive(seed, "start") * 2.0**-63) % 1
    start = start[np.lexsort((start, weights))]  # equal weights stand in their order by key: so do their starts
    # By the time seats + K at least `seats` seats are due, and at most K more.
    each = np.floor((seats + len(weights)) * weights - start).astype(np.int64) + 1
    who = np.repeat(np.arange(len(weights)), each)
    turn = np.arange(len(who)) - np.repeat(np.cumsum(each) - each, each)
    sequence = np.argsort((turn + start[who]) / weights[who], kind="stable")
    return weighty[who[sequence[:seats]]]
