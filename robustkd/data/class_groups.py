"""Groups of classes by their number of published training images: many, medium and few; and thirds by rank.

A group may contain no class. Figures of such a group are undefined rather than 0.
"""

import numpy as np
from numpy.typing import NDArray

from robustkd.data.view import Labels, View

FREQUENCY_GROUPS = ("many", "medium", "few")
RANK_GROUPS = ("head", "middle", "tail")


def published_counts(view: View) -> Labels:
    """Count the images per class by published label, foreign images excluded: (K,).

    For a published data set these are the true counts. Criteria receive the counts of the labels shown, view.counts, instead.
    """
    published = view.published_labels
    return np.bincount(published[published >= 0], minlength=len(view.classes))


def are_uneven(counts: Labels) -> bool:
    """Whether the largest class has at least twice as many images as the smallest: (K,)."""
    return bool(counts.max() >= 2 * counts.min())


def many_medium_few(counts: Labels) -> NDArray[np.str_]:
    """Return each class's group: many above 100 images, medium from 20 to 100, few below 20: (K,) -> (K,).

    >>> many_medium_few(np.array([101, 100, 20, 19])).tolist()
    ['many', 'medium', 'medium', 'few']
    """
    return np.array(FREQUENCY_GROUPS)[np.where(counts > 100, 0, np.where(counts >= 20, 1, 2))]


def thirds(counts: Labels) -> NDArray[np.str_]:
    """Return each class's third by rank: the largest classes are the head, ties go by class number: (K,) -> (K,).

    If K is not divisible by 3, the head gets the first remaining class and the middle the second.

    >>> thirds(np.array([5, 9, 9, 1])).tolist()
    ['middle', 'head', 'head', 'tail']
    """
    ranking = np.argsort(-counts, kind="stable")
    names = np.empty(len(counts), dtype="U6")
    for name, classes in zip(RANK_GROUPS, np.array_split(ranking, 3), strict=True):
        names[classes] = name
    return names
