"""The split into training, held-out and test rows: as published, and by key where nobody published one."""

import warnings
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from robustkd import seeds
from robustkd.data.view import Keys, Labels, Source, select_smallest_keys
from robustkd.errors import UsageError

TEST_SHARE = 0.25  # the share of each class that becomes the test split where none is given
MAX_SINGLETON_GROUPS = 2000  # about how many groups of one row are told apart, 20 of each class at least


class SplitRows(NamedTuple):
    """Rows of a source, each split sorted; none is in two of them."""

    train: Labels
    held_out: Labels
    test: Labels


def split_source(source: Source, *, held_out: float, seed: int) -> SplitRows:
    """Divide a source.

    Args:
        source: its own test part stays the test split, and its val part the held-out one.
        held_out: the share of each class's other rows held out where there is no val part; 0 holds nothing out and
            leaves a val part unused.
        seed: what the draw hangs on; the same rows are drawn on every machine.

    Without a test part a quarter of each class becomes one. Where there are groups, whole ones are drawn, so shares are
    met as nearly as groups allow.

    Raises:
        UsageError: the share is out of range, or a class is too small to be divided.
    """
    if not 0 <= held_out < 1:
        raise UsageError(f"held-out is {held_out} but should be at least 0 and less than 1")
    parts = np.full(len(source.labels), "train") if source.parts is None else source.parts
    train, val, test = (np.flatnonzero(parts == part) for part in ("train", "val", "test"))
    if not len(test):
        test = _draw_share(source, train, TEST_SHARE, seeds.derive(seed, "split", "test"), least=1)
        train = np.setdiff1d(train, test)
    if not held_out:
        return SplitRows(train, val[:0], test)
    if not len(val):
        val = _draw_share(source, train, held_out, seeds.derive(seed, "split", "held-out"), least=0)
        train = np.setdiff1d(train, val)
    return SplitRows(train, val, test)


def _draw_share(source: Source, rows: Labels, share: float, seed: int, least: int) -> Labels:
    """A share of each class among these rows, at least so many of each and never all: (m,), sorted."""
    counts = np.bincount(source.labels[rows], minlength=len(source.classes))
    if least and counts.min() < 2:
        few = int(counts.argmin())
        raise UsageError(
            f"{source.name}: class '{source.classes[few]}' has {counts[few]} images, but without a test split given"
            " at least 2 are needed, one to train on and one to test on"
        )
    if source.groups is not None:
        return _draw_groups(source, rows, share, seed, everywhere=bool(least))
    sizes = np.rint(share * counts).astype(np.int64).clip(least).clip(max=np.maximum(counts - 1, 0))
    taken, _ = select_smallest_keys(source.labels[rows], seeds.row_keys(seed, rows), sizes)
    return np.sort(rows[taken])


def _draw_groups(source: Source, rows: Labels, share: float, seed: int, everywhere: bool) -> Labels:
    """About a share of each class, in whole groups; every class stays, and if told every class goes: (m,), sorted."""
    from sklearn.model_selection import StratifiedGroupKFold

    assert source.groups is not None
    labels, groups = (
        source.labels[rows],
        merge_singleton_groups(source.labels[rows], source.groups[rows], seeds.row_keys(seed, rows)),
    )
    ratio = _to_folds(share)
    fold = np.zeros(len(rows), np.int64)
    folder = StratifiedGroupKFold(ratio.denominator, shuffle=True, random_state=seed % 2**32)
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # classes smaller than the number of folds
            for number, (_, members) in enumerate(folder.split(rows, labels, groups)):
                fold[members] = number
    except ValueError:  # more folds than groups, or than images of any class
        raise UsageError(_indivisible_message(source, rows, share)) from None
    for first in range(ratio.denominator):
        gone = (fold - first) % ratio.denominator < ratio.numerator
        stays, goes = (len(np.unique(labels[chosen])) for chosen in (~gone, gone))
        if stays == len(np.unique(labels)) and (goes == stays or not everywhere):
            return rows[gone]
    raise UsageError(_indivisible_message(source, rows, share))


def _to_folds(share: float) -> Fraction:
    """A share as so many of a number of folds: few, since each takes time and a group, where that is near enough.

    >>> _to_folds(0.25), _to_folds(0.137), _to_folds(0.01)
    (Fraction(1, 4), Fraction(2, 15), Fraction(1, 100))
    """
    tries = (max(Fraction(share).limit_denominator(most), Fraction(1, most)) for most in (20, 100))
    first, second = tries
    return first if abs(first - share) < share / 10 else second


def merge_singleton_groups(labels: Labels, groups: Labels, keys: Keys, parts: int = 20) -> Labels:
    """The groups; where many rows are groups of their own, some of these put together, of one class and by key: (n,).

    Each class stays in `parts` of them at least, where it has as many. Finding folds takes a time that grows with the
    number of groups, 7 s for 20,000.
    """
    _, where, size = np.unique(groups, return_inverse=True, return_counts=True)
    alone = np.flatnonzero(size[where] == 1)
    counts = np.bincount(labels[alone])
    taken, rank = select_smallest_keys(labels[alone], keys[alone], counts)
    many = np.maximum(1, np.minimum(len(alone) // MAX_SINGLETON_GROUPS, counts // parts))[labels[alone][taken]]
    bundled = groups.copy()
    bundled[alone[taken]] = groups.max() + np.cumsum(rank % many == 0)
    return bundled


def _indivisible_message(source: Source, rows: Labels, share: float) -> str:
    """The sentence for groups that cannot be divided, with the class that has the fewest."""
    assert source.groups is not None
    pairs = np.unique(np.stack([source.labels[rows], source.groups[rows]]), axis=1)[0]
    fewest = min(np.unique(pairs), key=lambda label: np.count_nonzero(pairs == label))
    return (
        f"{source.name}: no {share:.0%} can be cut without dividing a group or losing a class: class"
        f" '{source.classes[fewest]}' is in {np.count_nonzero(pairs == fewest)} of the groups"
    )
