"""Base classes of scenarios that keep a part of each class, and the assignment of class sizes along a curve to classes."""

from abc import abstractmethod
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from robustkd import seeds
from robustkd.data.view import Labels, View, select_smallest_keys
from scenarios.base import Scenario

Order = Literal["id", "reversed", "seeded", "size"]
Cap = Literal["smallest", "own"]
WORTH_ADVICE = 1.5  # times as many samples with other options as without


class Subsampling(Scenario):
    """Subsampling of each class to a size. The first samples by key are kept, so that larger sizes keep a superset."""

    @abstractmethod
    def class_sizes(self, view: View) -> Labels:
        """Return the number of samples of each class to keep, at most its count: (K,)."""

    def apply(self, view: View) -> View:
        chosen, _ = select_smallest_keys(view.labels, view.keys("thin"), self.class_sizes(view))
        return view.take(np.sort(chosen))


class SizeCurve(Subsampling):
    """Subsampling to class sizes along a curve."""

    family = "imbalance"
    order: Order  # which class is first on the curve, or `size`: larger classes have larger sizes
    cap: Cap  # what limits the curve: the smallest class's count, or each class's own

    @abstractmethod
    def curve_sizes(self, largest: float, classes: int) -> NDArray[np.float64]:
        """Return the sizes by position before rounding, none above `largest`: (K,)."""

    def class_sizes(self, view: View) -> Labels:
        return self._sizes(view, self.order, self.cap)

    def _sizes(self, view: View, order: Order, cap: Cap) -> Labels:
        counts = view.counts
        # A class that is absent from the held-out rows must not empty all others.
        largest = counts[counts > 0].min(initial=counts.max()) if cap == "smallest" else counts.max()
        sizes = np.rint(self.curve_sizes(float(largest), len(counts))).astype(np.int64)
        return np.minimum(assign_sizes(order, sizes, view), counts)

    def advice(self, view: View) -> str:
        counts = view.counts
        kept, possible = self.class_sizes(view).sum(), self._sizes(view, "size", "own").sum()
        if self.cap == "own" or possible < WORTH_ADVICE * kept:
            return ""
        smallest = int(np.where(counts > 0, counts, counts.max()).argmin())
        return (
            f"{type(self).__name__.lower()} keeps {kept:,} of {len(view):,} samples, because no class may be larger than the"
            f" smallest one is now ('{view.classes[smallest]}', {counts[smallest]:,}); with order=size, cap=own it keeps"
            f" {possible:,}, and the largest class stays the largest"
        )


def assign_sizes(order: Order, sizes: Labels, view: View) -> Labels:
    """Return the size of each class of a view, given the sizes by position on a curve: (K,) -> (K,).

    The order `size` gives larger classes larger sizes. Classes of equal size are ordered by their published sizes, so that
    held-out rows, where small differences are lost, are ordered as the training rows are.
    """
    if order == "size":
        positions = np.argsort(sizes, kind="stable")
        published = np.bincount(view.sources[0].labels, minlength=len(sizes))
        classes: Labels = np.lexsort((published, view.counts))
    else:
        positions = np.arange(len(sizes))
        classes = order_classes(order, len(sizes), view.derive_seed("order"))
    assigned = np.empty_like(sizes)
    assigned[classes] = sizes[positions]
    return assigned


def order_classes(order: Order, classes: int, seed: int) -> Labels:
    """Return the classes by position on a curve: (K,).

    >>> order_classes("reversed", 3, 0)
    array([2, 1, 0])
    """
    if order == "seeded":
        return np.argsort(seeds.row_keys(seed, np.arange(classes)))
    return np.arange(classes)[:: -1 if order == "reversed" else 1]
