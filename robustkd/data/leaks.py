"""Split a data set, and report test images that a network has seen among the training images: exact and near copies.

Where a split is drawn, exact copies are in one split, and near copies too on request. A published split is kept as it is, and
its copies are reported.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustkd.data.duplicates import DuplicatePairs, find_near_duplicates
from robustkd.data.groups import group_near_copies
from robustkd.data.splits import SplitRows, has_published_test, split_source
from robustkd.data.view import Source

MAX_COMPARED = 10_000  # images: near copies of more are not looked for before a study, which would take many seconds
MIN_REPORTED_SHARE = 0.01  # of the test images: fewer near copies change no accuracy noticeably


class CheckedSplit(NamedTuple):
    """A split data set.

    Attributes:
        source: with groups that join near copies, if they were to be kept together.
        copies: a sentence about copies that are kept in one split, none if there are none.
        leaks: sentences about copies across the splits, none if there are none; measured accuracies are too high by them.
    """

    source: Source
    rows: SplitRows
    copies: list[str]
    leaks: list[str]


def split_and_check(source: Source, *, held_out: float, seed: int, keep_near_copies: bool) -> CheckedSplit:
    """Split a source, as `split_source` does, and look for copies across the splits.

    Raises:
        UsageError: the share is out of range, or a class is too small to be divided.
    """
    if keep_near_copies:
        source = group_near_copies(source)
    rows = split_source(source, held_out=held_out, seed=seed)
    drawn, count = not has_published_test(source), len(source.labels)
    repeated = count - len(np.unique(source.first_copies))
    copies = [f"{repeated} of {count} images repeat the pixels of another: copies are kept in one split"]
    leaks = [*_describe_exact_leak(source, rows)]
    if drawn and not keep_near_copies and count <= MAX_COMPARED:
        leaks += _describe_near_leak(source, rows)
    return CheckedSplit(source, rows, copies if drawn and repeated else [], leaks)


def _describe_exact_leak(source: Source, rows: SplitRows) -> Iterator[str]:
    """Describe identical images in the test split and another one, as a published split may have them."""
    first = source.first_copies
    leaked = int(np.isin(first[rows.test], first[np.concatenate([rows.train, rows.held_out])]).sum())
    if leaked:
        yield (
            f"{leaked} of {len(rows.test)} test images have the same pixels as a training image: the published split is kept,"
            " so accuracies include what was memorised"
        )


def _describe_near_leak(source: Source, rows: SplitRows) -> Iterator[str]:
    """Describe near copies in the test split and another one, unless they are few."""
    leaked = int(near_copies_in_test(source, rows, find_near_copies(source)).sum())
    if leaked >= max(1, MIN_REPORTED_SHARE * len(rows.test)):
        yield (
            f"{leaked} of {len(rows.test)} test images have a near copy among the others, so accuracies include what was"
            " memorised: --group-near-copies keeps near copies in one split"
        )


@lru_cache(maxsize=1)
def find_near_copies(source: Source) -> DuplicatePairs:
    """Return the pairs of near copies among the different images of a source, found once per process."""
    return find_near_duplicates(source.images, np.unique(source.first_copies))


def near_copies_in_test(source: Source, rows: SplitRows, pairs: DuplicatePairs) -> NDArray[np.bool_]:
    """Return a mask of the test rows with a near copy in another split: (len(rows.test),)."""
    tested, seen = (source.first_copies[part] for part in (rows.test, np.concatenate([rows.train, rows.held_out])))
    left, right = np.concatenate([pairs[:2], pairs[1::-1]], axis=1)  # each pair in both directions
    near: NDArray[np.bool_] = np.isin(tested, left[np.isin(right, seen)])
    return near
