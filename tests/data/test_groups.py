"""Groups: what is joined, transitively, and what is not."""

import numpy as np
import pytest

from robustkd.data.groups import find_first_copies, group_near_copies, group_rows, join_groups
from robustkd.data.view import Source
from tests.data.test_duplicates import jpeg, pictures


def source(images, groups=None):
    return Source(
        "toy", images, np.arange(len(images)) % 2, ("a", "b"), groups=None if groups is None else np.array(groups)
    )


def as_partition(groups):
    """Which rows are together, whatever the groups' numbers."""
    return {frozenset(np.flatnonzero(groups == group).tolist()) for group in groups}


def test_rows_with_identical_pixels_are_a_group():
    images = pictures(3)[[0, 1, 0, 2, 1]]
    assert as_partition(group_rows(source(images), np.arange(5))) == {frozenset(s) for s in ([0, 2], [1, 4], [3])}


def test_groups_and_identical_pixels_are_joined_transitively():
    # 0 and 2 are copies, 2 and 3 a group, 3 and 5 copies; 1 and 4 are alone, and -1 is no group.
    images = pictures(4)[[0, 1, 0, 2, 3, 2]]
    joined = group_rows(source(images, [7, -1, 5, 5, -1, 9]), np.arange(6))
    assert as_partition(joined) == {frozenset(s) for s in ([0, 2, 3, 5], [1], [4])}


def test_groups_without_copies_keep_their_numbers():
    groups = np.array([5, 5, 2, 9, 2])
    assert group_rows(source(pictures(5), groups), np.arange(5)).tolist() == groups.tolist()


def test_the_first_copy_is_among_the_rows_asked_for():
    images = pictures(2)[[0, 1, 0, 1, 0]]
    assert find_first_copies(source(images), np.array([2, 3, 4])).tolist() == [2, 3, 2]


def test_blank_images_are_not_copies():
    assert as_partition(group_rows(source(np.zeros((3, 1, 8, 8), np.uint8)), np.arange(3))) == {
        frozenset([row]) for row in range(3)
    }


@pytest.mark.parametrize("seed", range(3))
def test_joining_equals_repeated_relabelling(seed):
    random = np.random.default_rng(seed)
    groups, left, right = random.integers(0, 30, 40), *random.integers(0, 40, (2, 12))
    expected = groups.copy()
    for _ in range(40):
        for one, other in zip(left, right, strict=True):
            low, high = sorted((expected[one], expected[other]))
            expected[expected == high] = low
    assert join_groups(groups, left, right).tolist() == expected.tolist()


def test_near_copies_are_grouped_on_request():
    originals = pictures(60)
    images = np.concatenate([originals, np.stack([jpeg(image) for image in originals[:3]])])
    grouped = group_near_copies(source(images))
    together = {group for group in as_partition(grouped.groups) if len(group) > 1}
    assert together == {frozenset([row, 60 + row]) for row in range(3)}
