"""Groups of classes, against their definitions as loops."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from robustkd.data.class_groups import FREQUENCY_GROUPS, RANK_GROUPS, many_medium_few, published_counts, thirds
from robustkd.data.view import Source, View

COUNTS = st.lists(st.integers(0, 130), min_size=1, max_size=40).map(np.array)


@given(COUNTS)
@settings(max_examples=100, deadline=None)
def test_many_medium_and_few_have_fixed_bounds(counts: np.ndarray) -> None:
    for count, name in zip(counts.tolist(), many_medium_few(counts).tolist(), strict=True):
        assert name == ("many" if count > 100 else "few" if count < 20 else "medium")


@given(COUNTS)
@settings(max_examples=100, deadline=None)
def test_thirds_follow_rank_and_differ_by_at_most_one_class(counts: np.ndarray) -> None:
    names = thirds(counts).tolist()
    best = sorted(range(len(counts)), key=lambda number: (-counts[number], number))
    assert [RANK_GROUPS.index(names[number]) for number in best] == sorted(RANK_GROUPS.index(name) for name in names)
    head, middle, tail = (names.count(name) for name in RANK_GROUPS)
    assert head >= middle >= tail >= head - 1
    assert head + middle + tail == len(counts)


def test_groups_may_be_empty() -> None:
    assert set(many_medium_few(np.array([5000, 101]))) == {"many"}
    assert set(thirds(np.array([3]))) == {"head"}
    assert len({*FREQUENCY_GROUPS, *RANK_GROUPS}) == 6


def test_published_counts_use_published_labels_of_own_images() -> None:
    images = np.zeros((4, 1, 1, 1), np.uint8)
    own, other = (Source(name, images, np.array([0, 1, 1, 2]), tuple("abcd")) for name in ("own", "other"))
    view = View((own, other), np.array([0, 1, 3, 2]), np.array([3, 1, 2, 2]), origin=np.array([0, 0, 0, 1]))
    assert published_counts(view).tolist() == [1, 1, 1, 0]
    assert view.counts.tolist() == [0, 1, 2, 1]
