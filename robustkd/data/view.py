"""What is published and what is shown: Source and View.

A Source is never modified. A View names rows of one or more sources and the labels shown for them; a scenario is a
function from View to View. A view knows the truth where there is one, what a method may see of it does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustkd import seeds
from robustkd.data.resize import fit_images
from robustkd.hashing import digest

Labels = NDArray[np.int64]  # (N,)
Keys = NDArray[np.uint64]  # (N,)

PARTS = ("train", "val", "test")
PART_ALIASES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True, eq=False)
class Source:
    """Images and labels as published.

    Attributes:
        name: the word or path it was read by.
        images: (N, C, H, W) uint8, in memory or memory-mapped.
        labels: (N,) int64, as given.
        classes: the K class names, in label order.
        truth: (N,) int64, -1 where unknown; None where nothing is known, as for a user's own data.
        parts: (N,) of "train", "val", "test" where the publisher split it; None where not.
        groups: (N,) int64; a split never divides a group. None where there are none.
        flips: whether a mirrored image keeps its class.
        files: the N file names, where the images were files.
        fingerprint: a digest of content; computed from images and labels where the reader gives none.
        skipped: files that could not be read and were left out on request.
        read_options: the options it was read with, by name: further data sets beside it are read in the same way.
    """

    name: str
    images: NDArray[np.uint8]
    labels: Labels
    classes: tuple[str, ...]
    truth: Labels | None = None
    parts: NDArray[np.str_] | None = None
    groups: Labels | None = None
    flips: bool = False
    files: tuple[str, ...] | None = None
    fingerprint: str = ""
    skipped: tuple[str, ...] = ()
    read_options: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", digest(self.images, self.labels))

    @property
    def shape(self) -> tuple[int, int, int]:
        """C, H, W."""
        return self.images.shape[1:]


@dataclass(frozen=True, eq=False)
class View:
    """Rows of one or more sources and the labels shown for them.

    Attributes:
        sources: the first is the data set itself; others lend foreign images.
        rows: (n,) int64, the row within its source; of a foreign image, plus its source's length for each time it is shown
            again, so that no two samples are one.
        labels: (n,) int64, the label shown.
        seed: the data seed that every scenario's draws hang on.
        position: how many scenarios were applied; each draws with keys of its own.
        origin: (n,) int64, which source a row is of; None for the first throughout.
        scale: how large this view is beside the training rows: what absolute class sizes are multiplied by.
        training: whether these are the training rows; held-out ones have what they have.
    """

    sources: tuple[Source, ...]
    rows: Labels
    labels: Labels
    seed: int = 0
    position: int = 0
    origin: Labels | None = None
    scale: float = 1.0
    training: bool = True

    @classmethod
    def of(
        cls, source: Source, rows: Labels | None = None, seed: int = 0, *, scale: float = 1.0, training: bool = True
    ) -> "View":
        """A source's rows, all or some, with the labels as published."""
        rows = np.arange(len(source.labels)) if rows is None else rows
        return cls((source,), rows, source.labels[rows], seed, scale=scale, training=training)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.sources[0].classes

    @property
    def counts(self) -> Labels:
        """Labels shown per class: (K,)."""
        return np.bincount(self.labels, minlength=len(self.classes))

    @property
    def truth(self) -> Labels | None:
        """The true label of each row, -1 where it is not known: (n,), or None where the data set knows none."""
        known = self.sources[0].truth
        return None if known is None else self._own(known)

    @property
    def corrupted(self) -> NDArray[np.bool_]:
        """Which rows are known to be under a wrong label of the classes there are: (n,)."""
        truth = self.truth
        return np.zeros(len(self), bool) if truth is None else (truth >= 0) & (truth != self.labels)

    @property
    def may_have_label_noise(self) -> bool:
        """Whether a label shown is wrong, or might be."""
        return self.truth is None or bool((self.truth != self.labels).any())

    @property
    def published_labels(self) -> Labels:
        """The label each row came with, before any scenario; -1 for a foreign image: (n,)."""
        return self._own(self.sources[0].labels)

    @property
    def foreign(self) -> NDArray[np.bool_]:
        """Which rows show an image of another source: (n,)."""
        return np.zeros(len(self), bool) if self.origin is None else self.origin > 0

    def _own(self, values: Labels) -> Labels:
        """What the data set's own rows have, and -1 for foreign ones, whatever their own source says: (n,)."""
        if self.origin is None:
            return values[self.rows]
        own = self.origin == 0
        return np.where(own, values[np.where(own, self.rows, 0)], -1)

    @property
    def sample_ids(self) -> Labels:
        """A number that no other sample has, whatever is shown around it: (n,)."""
        return self.rows if self.origin is None else self.rows + (self.origin << 40)

    @property
    def source_rows(self) -> Labels:
        """Where each row's image lies among those of its source: (n,)."""
        if self.origin is None:
            return self.rows
        places: Labels = self.rows % np.array([len(source.labels) for source in self.sources])[self.origin]
        return places

    def keys(self, *purpose: str | int) -> Keys:
        """A number per row from the data seed, this place in the chain, the purpose and the source row: (n,)."""
        return seeds.row_keys(seeds.derive(self.seed, "scenario", self.position, *purpose), self.sample_ids)

    def derive_seed(self, *names: str | int) -> int:
        """A seed for what belongs to no single row, such as an order of classes."""
        return seeds.derive(self.seed, "scenario", self.position, *names)

    def take(self, chosen: NDArray[np.bool_] | Labels) -> "View":
        """Some of the rows: (n,) bool or indices."""
        origin = None if self.origin is None else self.origin[chosen]
        return replace(self, rows=self.rows[chosen], labels=self.labels[chosen], origin=origin)

    def relabel(self, labels: Labels) -> "View":
        """The same rows under other labels: (n,)."""
        return replace(self, labels=labels)

    def images(self) -> NDArray[np.uint8]:
        """The images themselves, gathered, foreign ones brought to the shape of the others: (n, C, H, W)."""
        if self.origin is None:
            return self.sources[0].images[self.rows]
        images = np.empty((len(self), *self.sources[0].shape), np.uint8)
        places = self.source_rows
        for number, source in enumerate(self.sources):
            images[self.origin == number] = fit_images(
                source.images[places[self.origin == number]], self.sources[0].shape
            )
        return images

    @cached_property
    def digest(self) -> str:
        """What is shown, in 16 letters: the same wherever the same rows carry the same labels."""
        parts = [self.rows.astype("<i8"), self.labels.astype("<i8")]
        if self.origin is not None:
            parts.append(self.origin.astype("<i8"))
        return digest(*parts, text="".join(source.fingerprint for source in self.sources))


def concat(view: View, parts: list[View]) -> View:
    """A view that shows these parts, one after another; each may have lenders of its own, which are numbered anew."""
    lenders = {source.fingerprint: source for part in parts for source in part.sources[1:]}
    number = {fingerprint: place for place, fingerprint in enumerate(lenders, 1)}
    empty = np.zeros(0, np.int64)
    rows, labels, origin = [empty], [empty], [empty]
    for part in parts:
        numbers = np.array([0, *(number[source.fingerprint] for source in part.sources[1:])])
        rows.append(part.rows)
        labels.append(part.labels)
        origin.append(np.zeros_like(part.rows) if part.origin is None else numbers[part.origin])
    return replace(
        view,
        sources=(view.sources[0], *lenders.values()),
        rows=np.concatenate(rows),
        labels=np.concatenate(labels),
        origin=np.concatenate(origin) if lenders else None,
    )


def select_smallest_keys(groups: Labels, keys: Keys, sizes: Sequence[int] | Labels) -> tuple[Labels, Labels]:
    """The members of each group with the smallest keys: as many of group g as sizes[g] says.

    Args:
        groups: (n,) int64 in 0 to G - 1.
        keys: (n,) uint64.
        sizes: (G,) how many to take.

    Returns:
        The indices taken, group by group and by key within each: (m,); and the rank of each within its group: (m,).

    A larger size takes a superset, in the same order.

    >>> groups, keys = np.array([0, 1, 0, 1]), np.array([7, 3, 2, 9], dtype=np.uint64)
    >>> select_smallest_keys(groups, keys, [2, 1])
    (array([2, 0, 1]), array([0, 1, 0]))
    """
    sizes = np.asarray(sizes)
    # One sort of a combined key: the group above, the sample's own number below.
    bits = np.uint64(max(1, int(len(sizes) - 1).bit_length()))
    order = np.argsort((groups.astype(np.uint64) << (np.uint64(64) - bits)) | (keys >> bits), kind="stable")
    counts = np.bincount(groups, minlength=len(sizes))
    starts = np.cumsum(counts) - counts
    rank = np.arange(len(groups)) - np.repeat(starts, counts)
    taken = rank < np.repeat(sizes, counts)
    return order[taken], rank[taken]
