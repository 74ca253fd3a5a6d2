"""Groups of classes by how many training images were published as theirs: many, medium and few; and thirds by rank.

A group is the classes that bear its name; where there are none it is empty, which is not a figure of 0.
"""

import numpy as np
from numpy.typing import NDArray

from robustkd.data.view import Labels, View

FREQUENCY_GROUPS = ("many", "medium", "few")
RANK_GROUPS = ("head", "middle", "tail")


def published_counts(view: View) -> Labels:
    """Images per class by the label they were published with, foreign ones left out: (K,).

    Of a published set these are the true counts. Criteria see the labels shown instead, which are view.counts.
    """
    published = view.published_labels
    return np.bincount(published[published >= 0], minlength=len(view.classes))


def many_medium_few(counts: Labels) -> NDArray[np.str_]:
    """The group of each class: many above 100 images, medium from 20 to 100, few below 20: (K,) -> (K,).

    >>> many_medium_few(np.array([101, 100, 20, 19])).tolist()
    ['many', 'medium', 'medium', 'few']
    """
    return np.array(FREQUENCY_GROUPS)[np.where(counts > 100, 0, np.where(counts >= 20, 1, 2))]


def thirds(counts: Labels) -> NDArray[np.str_]:
    """The third of each class by its rank, the largest classes the head, of equal ones the lower number first: (K,) -> (K,).

    Where 3 does not divide K the head takes the first class left over and the middle the second.

    >>> thirds(np.array([5, 9, 9, 1])).tolist()
    ['middle', 'head', 'head', 'tail']
    """
    ranking = np.argsort(-counts, kind="stable")
    names = np.empty(len(counts), dtype="U6")
    for name, classes in zip(RANK_GROUPS, np.array_split(ranking, 3), strict=True):
        names[classes] = name
    return names
