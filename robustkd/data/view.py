"""Data sets as published and as shown to a method: Source and View.

A Source is never modified. A View selects rows of one or more sources and holds the labels shown for them; a scenario is a
function from View to View. A view knows the true labels where they exist; the batches that methods receive do not contain them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustkd import seeds
from robustkd.data.copies import find_exact_copies
from robustkd.data.resize import fit_images
from robustkd.data.value_range import ValueRange
from robustkd.hashing import digest

Labels = NDArray[np.int64]  # (N,)
Keys = NDArray[np.uint64]  # (N,)

PARTS = ("train", "val", "test")
# The names of parts that public data sets use, as in Hugging Face's folder builder. `eval` is a test part there, too.
PART_ALIASES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "development"), "val"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}


@dataclass(frozen=True, eq=False)
class Source:
    """Images and labels as published.

    Attributes:
        name: the name or path it was loaded by.
        images: (N, C, H, W) uint8, in memory or memory-mapped.
        labels: (N,) int64, as given.
        classes: the K class names, in label order.
        truth: (N,) int64 true labels, -1 where unknown; None if no true label is known, as for most user data.
        parts: (N,) of "train", "val", "test" as split by the publisher; None if there is no published split.
        groups: (N,) int64; a group is never divided between splits. None if there are no groups.
        flips: whether a mirrored image keeps its class.
        files: the N file names, if the images were read from files.
        root: the folder that the file names are relative to.
        fingerprint: a digest of the content; computed from images and labels if not given.
        skipped: files that could not be read and were left out on request.
        read_options: the options it was loaded with, as (name, value) pairs; foreign data sets are loaded with the same.
        part_names: the publisher's name for each part, as in {"test": "Testing/"}; a part without one has its own name.
        notes: how the data were read, where that is not obvious: sentences that commands print before they train.
        unread: what was found next to the images and not read: the reason by path.
        value_range: by which values of more than 8 bits were scaled; None if the images have none.
        crop: side of the square that networks see; the images hold a margin around it, for evaluation to leave out and for
            augmentation to draw from. None: networks see whole images.
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
    part_names: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    unread: Mapping[str, str] = field(default_factory=dict)
    value_range: ValueRange | None = None
    root: Path | None = None
    crop: int | None = None

    def __post_init__(self) -> None:
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", digest(self.images, self.labels))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one image as networks see it: (C, H, W)."""
        return self.stored_shape if self.crop is None else (self.stored_shape[0], self.crop, self.crop)

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        """Shape of one of `images`, with its margin: (C, H, W)."""
        return self.images.shape[1:]

    @cached_property
    def first_copies(self) -> Labels:
        """The first row with the same pixels as each row, which is a copy of nothing if it is of a single colour: (N,)."""
        return find_exact_copies(self.images, np.arange(len(self.images)))


@dataclass(frozen=True, eq=False)
class View:
    """Rows of one or more sources and the labels shown for them.

    Attributes:
        sources: the data set itself, then the sources of foreign images.
        rows: (n,) int64, the row within its source. The k-th repetition of a foreign image has k times the length of its
            source added, so that all samples are distinct.
        labels: (n,) int64, the label shown.
        seed: the data seed from which every scenario derives its draws.
        position: number of scenarios applied so far; each position has keys of its own.
        origin: (n,) int64, the index of each row's source; None if all rows are of the first.
        scale: size relative to the training rows, by which absolute class sizes are multiplied.
        training: whether these are the training rows; held-out rows may have fewer images than a scenario asks for.
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
        """Return a view of all rows of a source, or of some, with the published labels."""
        rows = np.arange(len(source.labels)) if rows is None else rows
        return cls((source,), rows, source.labels[rows], seed, scale=scale, training=training)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in label order: K."""
        return self.sources[0].classes

    @property
    def counts(self) -> Labels:
        """Number of labels shown per class: (K,)."""
        return np.bincount(self.labels, minlength=len(self.classes))

    @property
    def truth(self) -> Labels | None:
        """True label of each row, -1 where unknown: (n,); None if the data set has no true labels."""
        truth = self.sources[0].truth
        return None if truth is None else self._own_values(truth)

    @property
    def corrupted(self) -> NDArray[np.bool_]:
        """Mask of the rows whose true label is known and differs from the label shown: (n,)."""
        truth = self.truth
        return np.zeros(len(self), bool) if truth is None else (truth >= 0) & (truth != self.labels)

    @property
    def may_have_label_noise(self) -> bool:
        """Whether a label shown is wrong, or may be because its true label is unknown."""
        return self.truth is None or bool((self.truth != self.labels).any())

    @property
    def published_labels(self) -> Labels:
        """Label of each row before any scenario; -1 for a foreign image: (n,)."""
        return self._own_values(self.sources[0].labels)

    @property
    def foreign(self) -> NDArray[np.bool_]:
        """Mask of the rows that show an image of another source: (n,)."""
        return np.zeros(len(self), bool) if self.origin is None else self.origin > 0

    def _own_values(self, values: Labels) -> Labels:
        """Return the values of the data set's own rows, and -1 for foreign rows: (N,) -> (n,)."""
        if self.origin is None:
            return values[self.rows]
        own = self.origin == 0
        return np.where(own, values[np.where(own, self.rows, 0)], -1)

    @property
    def sample_ids(self) -> Labels:
        """A number that identifies each sample in any view of the same sources: (n,)."""
        return self.rows if self.origin is None else self.rows + (self.origin << 40)

    @property
    def source_rows(self) -> Labels:
        """Index of each row's image within its source, equal for repetitions of an image: (n,)."""
        if self.origin is None:
            return self.rows
        source_rows: Labels = self.rows % np.array([len(source.labels) for source in self.sources])[self.origin]
        return source_rows

    def keys(self, *purpose: str | int) -> Keys:
        """Return a pseudo-random number per row, determined by seed, position, purpose and sample: (n,)."""
        return seeds.row_keys(seeds.derive(self.seed, "scenario", self.position, *purpose), self.sample_ids)

    def derive_seed(self, *purpose: str | int) -> int:
        """Return a seed for draws that belong to no single row, such as an order of classes."""
        return seeds.derive(self.seed, "scenario", self.position, *purpose)

    def take(self, chosen: NDArray[np.bool_] | Labels) -> "View":
        """Return a view of some of the rows, given as a mask (n,) or as indices."""
        origin = None if self.origin is None else self.origin[chosen]
        return replace(self, rows=self.rows[chosen], labels=self.labels[chosen], origin=origin)

    def relabel(self, labels: Labels) -> "View":
        """Return a view of the same rows with other labels: (n,)."""
        return replace(self, labels=labels)

    def images(self) -> NDArray[np.uint8]:
        """Gather the images as stored; foreign ones are resized to the shape of the data set's own: (n, C, H, W)."""
        if self.origin is None:
            return self.sources[0].images[self.rows]
        shape = self.sources[0].stored_shape
        images = np.empty((len(self), *shape), np.uint8)
        source_rows = self.source_rows
        for number, source in enumerate(self.sources):
            own = self.origin == number
            images[own] = fit_images(source.images[source_rows[own]], shape)
        return images

    @cached_property
    def digest(self) -> str:
        """Digest of what is shown, as 16 hexadecimal digits; independent of seed and position."""
        fingerprints = [source.fingerprint for source in self.sources]
        return digest_rows(fingerprints, self.rows, self.labels, self.origin)


def digest_rows(fingerprints: Sequence[str], rows: Labels, labels: Labels, origin: Labels | None) -> str:
    """Return the digest of a view by its rows (n,), labels (n,), origins (n,) and the fingerprints of its sources."""
    arrays = (rows, labels) if origin is None else (rows, labels, origin)
    return digest(*(array.astype("<i8") for array in arrays), text="".join(fingerprints))


def concat(view: View, parts: list[View]) -> View:
    """Concatenate parts of a view.

    Args:
        view: what seed, position and scale are taken from.
        parts: views of the same data set; each may have foreign sources of its own, which are renumbered.
    """
    foreign_sources = {source.fingerprint: source for part in parts for source in part.sources[1:]}
    numbers = {fingerprint: number for number, fingerprint in enumerate(foreign_sources, 1)}
    empty = np.zeros(0, np.int64)
    rows, labels, origin = [empty], [empty], [empty]
    for part in parts:
        renumbered = np.array([0, *(numbers[source.fingerprint] for source in part.sources[1:])])
        rows.append(part.rows)
        labels.append(part.labels)
        origin.append(np.zeros_like(part.rows) if part.origin is None else renumbered[part.origin])
    return replace(
        view,
        sources=(view.sources[0], *foreign_sources.values()),
        rows=np.concatenate(rows),
        labels=np.concatenate(labels),
        origin=np.concatenate(origin) if foreign_sources else None,
    )


def select_smallest_keys(groups: Labels, keys: Keys, sizes: Sequence[int] | Labels) -> tuple[Labels, Labels]:
    """Select the members with the smallest keys in each group.

    Args:
        groups: (n,) int64 in 0 to G - 1.
        keys: (n,) uint64.
        sizes: (G,) number of members to select.

    Returns:
        The selected indices, ordered by group and by key within each: (m,); and the rank of each within its group: (m,).

    A larger size selects a superset, in the same order.

    >>> groups, keys = np.array([0, 1, 0, 1]), np.array([7, 3, 2, 9], dtype=np.uint64)
    >>> select_smallest_keys(groups, keys, [2, 1])
    (array([2, 0, 1]), array([0, 1, 0]))
    """
    sizes = np.asarray(sizes)
    # One sort of a combined key: the group in the upper bits, the sample's key in the lower.
    bits = np.uint64(max(1, int(len(sizes) - 1).bit_length()))
    order = np.argsort((groups.astype(np.uint64) << (np.uint64(64) - bits)) | (keys >> bits), kind="stable")
    counts = np.bincount(groups, minlength=len(sizes))
    starts = np.cumsum(counts) - counts
    rank = np.arange(len(groups)) - np.repeat(starts, counts)
    selected = rank < np.repeat(sizes, counts)
    return order[selected], rank[selected]
