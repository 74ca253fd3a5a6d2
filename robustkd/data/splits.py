"""The split into training, held-out and test rows: as published, or else drawn reproducibly."""

import warnings
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustkd import seeds
from robustkd.data.groups import find_first_copies, group_rows
from robustkd.data.view import PARTS, Keys, Labels, Source, select_smallest_keys
from robustkd.errors import UsageError

TEST_SHARE = 0.25  # of each class, if the source has no test part
MAX_SINGLETON_GROUPS = 2000  # approximate; more groups of a single row are merged, but at least 20 are left per class


class SplitRows(NamedTuple):
    """Rows of a source, sorted within each split; the splits are disjoint."""

    train: Labels
    held_out: Labels
    test: Labels


def split_source(source: Source, *, held_out: float, seed: int) -> SplitRows:
    """Split a source.

    Args:
        source: its test part becomes the test split, and its val part the held-out split. If there is a val part only, as in
            ImageNet, whose test labels are not published, it becomes the test split.
        held_out: the share of each class's remaining rows that is held out if no val part is left for that; 0 holds nothing
            out and leaves a val part unused.
        seed: determines the draw, which is the same on every machine.

    If there is neither part, a quarter of each class is drawn as the test split. Rows with identical pixels are drawn together.
    If there are groups, whole groups are drawn, so shares are approximate.

    Raises:
        UsageError: the share is out of range, or a class is too small to be divided.
    """
    if not 0 <= held_out < 1:
        raise UsageError(f"held-out is {held_out} but should be at least 0 and less than 1")
    parts = np.full(len(source.labels), "train") if source.parts is None else source.parts
    train, val, test = (np.flatnonzero(parts == part) for part in PARTS)
    if not len(test):
        test, val = val, test
    if not len(test):
        test = draw_share(source, train, TEST_SHARE, seeds.derive(seed, "split", "test"), minimum=1)
        train = np.setdiff1d(train, test)
    if not held_out:
        return SplitRows(train, val[:0], test)
    if not len(val):
        val = draw_share(source, train, held_out, seeds.derive(seed, "split", "held-out"), minimum=0)
        train = np.setdiff1d(train, val)
    return SplitRows(train, val, test)


def describe_split(source: Source, rows: SplitRows) -> str:
    """Describe what each published part, or the whole data set, is used for.

    >>> source = Source("photos", np.zeros((6, 1, 1, 1), np.uint8), np.array([0, 1] * 3), ("a", "b"))
    >>> describe_split(source, SplitRows(np.array([0, 1]), np.array([2]), np.array([3, 4, 5])))
    '6 images -> 2 training, 1 held out, 3 test'
    """
    uses = np.full(len(source.labels), "not used")
    for use, members in zip(("training", "held out", "test"), rows, strict=True):
        uses[members] = use
    if source.parts is None:
        return _describe_uses("", uses)
    present = [part for part in PARTS if (source.parts == part).any()]
    return "; ".join(
        _describe_uses(f"{source.part_names.get(part, part)} ", uses[source.parts == part]) for part in present
    )


def _describe_uses(name: str, uses: NDArray[np.str_]) -> str:
    """Describe what some rows are used for: (n,)."""
    counts = {use: np.count_nonzero(uses == use) for use in ("training", "held out", "test", "not used")}
    shares = [f"{count:,} {use}" for use, count in counts.items() if count]
    destination = ", ".join(shares) if len(shares) > 1 else uses[0]
    return f"{name}{len(uses):,} images -> {destination}"


def has_published_test(source: Source) -> bool:
    """Whether the test rows are published, and not drawn."""
    return source.parts is not None and bool((source.parts != "train").any())


def draw_share(source: Source, rows: Labels, share: float, seed: int, minimum: int) -> Labels:
    """Draw a share of each class among these rows, at least `minimum` of each and never all: (m,), sorted.

    Rows with identical pixels count as one image, and are drawn or left together.

    Raises:
        UsageError: a class is too small to be divided.
    """
    counts = np.bincount(source.labels[rows], minlength=len(source.classes))
    if minimum and counts.min() < 2:
        smallest = int(counts.argmin())
        raise UsageError(
            f"{source.name}: class '{source.classes[smallest]}' has {counts[smallest]} images, but at least 2 are needed"
            " if no test split is given, one for training and one for testing; --min-class 2 leaves out such classes"
        )
    first = find_first_copies(source, rows)
    distinct = rows[first == rows]
    images = np.bincount(source.labels[distinct], minlength=len(counts))
    # Rows of a class may all be copies of images under other labels: such classes are divided by group.
    if source.groups is not None or (images[counts > 0] < 1 + minimum).any():
        return _draw_groups(source, rows, share, seed, every_class=bool(minimum))
    sizes = np.rint(share * images).astype(np.int64).clip(minimum).clip(max=np.maximum(images - 1, 0))
    drawn, _ = select_smallest_keys(source.labels[distinct], seeds.row_keys(seed, distinct), sizes)
    return rows[np.isin(first, distinct[drawn])]


def _draw_groups(source: Source, rows: Labels, share: float, seed: int, every_class: bool) -> Labels:
    """Draw about a share of each class in whole groups: (m,), sorted.

    Every class keeps a row; with `every_class`, a row of every class is drawn too.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    labels, undivided = source.labels[rows], group_rows(source, rows)
    groups = merge_singleton_groups(labels, undivided, seeds.row_keys(seed, rows))
    ratio = _to_folds(share)
    fold = np.zeros(len(rows), np.int64)
    splitter = StratifiedGroupKFold(ratio.denominator, shuffle=True, random_state=seed % 2**32)
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # classes smaller than the number of folds
            for number, (_, members) in enumerate(splitter.split(rows, labels, groups)):
                fold[members] = number
    except ValueError:  # more folds than groups, or than images of any class
        raise UsageError(_indivisible_message(source, labels, undivided, share)) from None
    for first in range(ratio.denominator):
        drawn = (fold - first) % ratio.denominator < ratio.numerator
        kept_classes, drawn_classes = (len(np.unique(labels[chosen])) for chosen in (~drawn, drawn))
        if kept_classes == len(np.unique(labels)) and (drawn_classes == kept_classes or not every_class):
            return rows[drawn]
    raise UsageError(_indivisible_message(source, labels, undivided, share))


def _to_folds(share: float) -> Fraction:
    """Approximate a share by a number of folds out of all, with few folds if possible, since each costs time and a group.

    >>> _to_folds(0.25), _to_folds(0.137), _to_folds(0.01)
    (Fraction(1, 4), Fraction(2, 15), Fraction(1, 100))
    """
    candidates = (max(Fraction(share).limit_denominator(most), Fraction(1, most)) for most in (20, 100))
    coarse, fine = candidates
    return coarse if abs(coarse - share) < share / 10 else fine


def merge_singleton_groups(labels: Labels, groups: Labels, keys: Keys, parts: int = 20) -> Labels:
    """Merge groups of a single row, within a class and by key, if there are many: (n,) -> (n,).

    Each class keeps at least `parts` of these groups, if it has as many. The time to find folds grows with the number of groups
    and is 7 s for 20,000.
    """
    _, where, size = np.unique(groups, return_inverse=True, return_counts=True)
    singletons = np.flatnonzero(size[where] == 1)
    counts = np.bincount(labels[singletons])
    order, rank = select_smallest_keys(labels[singletons], keys[singletons], counts)
    sizes = np.maximum(1, np.minimum(len(singletons) // MAX_SINGLETON_GROUPS, counts // parts))
    merged = groups.copy()
    merged[singletons[order]] = groups.max() + np.cumsum(rank % sizes[labels[singletons[order]]] == 0)
    return merged


def _indivisible_message(source: Source, labels: Labels, groups: Labels, share: float) -> str:
    """Return the message for rows (n,) whose groups (n,) cannot be divided, naming the class with the fewest groups."""
    pairs = np.unique(np.stack([labels, groups]), axis=1)[0]
    fewest = min(np.unique(pairs), key=lambda label: np.count_nonzero(pairs == label))
    return (
        f"{source.name}: {share:.0%} cannot be drawn without dividing a group or losing a class: class"
        f" '{source.classes[fewest]}' is in {np.count_nonzero(pairs == fewest)} of the groups"
        + (", and images with identical pixels are one group" if source.groups is None else "")
    )
