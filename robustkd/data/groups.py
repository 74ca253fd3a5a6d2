"""Which rows a split or a fold must not separate: rows of one group, with identical pixels, or, on request, near copies.

A network recognises an image that it was trained on. If a copy of it is among the test rows, the accuracy includes what was
memorised; if it is in another fold of an audit, its label is predicted from memory, wrong or not.
"""

from dataclasses import replace

import numpy as np

from robustkd.data.duplicates import find_near_duplicates
from robustkd.data.view import Labels, Source


def find_first_copies(source: Source, rows: Labels) -> Labels:
    """Return the first of the given rows with the same pixels as each of them: (n,) -> (n,)."""
    first, where = _first_places(source.first_copies[rows])
    return rows[first][where]


def group_rows(source: Source, rows: Labels) -> Labels:
    """Return a group number for each row, equal within a group of the source and for identical pixels: (n,) -> (n,).

    A negative group in the source is none.
    """
    copies, rank = source.first_copies[rows], np.arange(len(rows))
    if source.groups is None:
        return copies
    first, where = _first_places(copies)
    groups = np.where(source.groups[rows] < 0, source.groups.max() + 1 + rank, source.groups[rows])
    return join_groups(groups, rank, first[where])


def group_near_copies(source: Source) -> Source:
    """Return the source with groups that join near copies, identical images and the source's own groups, transitively."""
    pairs = find_near_duplicates(source.images, np.unique(source.first_copies))
    groups = group_rows(source, np.arange(len(source.labels)))
    return replace(source, groups=join_groups(groups, pairs.left, pairs.right))


def join_groups(groups: Labels, left: Labels, right: Labels) -> Labels:
    """Join the groups of paired rows, transitively: (n,), (m,), (m,) -> (n,).

    A joined group has the smallest of its numbers, so that a group joined with no other keeps its number.

    >>> join_groups(np.array([4, 4, 7, 9, 9]), left=np.array([1]), right=np.array([2]))
    array([4, 4, 4, 9, 9])
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    numbers, group = np.unique(groups, return_inverse=True)
    links = coo_array((np.ones(len(left), np.int8), (group[left], group[right])), shape=(len(numbers),) * 2)
    _, component = connected_components(links, directed=False)
    joined: Labels = numbers[_first_places(component)[0]][component[group]]
    return joined


def _first_places(values: Labels) -> tuple[Labels, Labels]:
    """Return the first place of each distinct value, and the number of each value among the distinct: (d,), (n,)."""
    _, first, number = np.unique(values, return_index=True, return_inverse=True)
    return first, number
