"""Copies across splits: what is said of them, and that near copies are kept together on request."""

import numpy as np

from robustkd.data import leaks
from robustkd.data.view import Source
from tests.data.test_duplicates import jpeg, pictures


def source(images, labels=None, **others):
    labels = np.arange(len(images)) % 2 if labels is None else labels
    return Source("toy", images, labels, ("a", "b"), **others)


def split(data, together=False):
    return leaks.split_and_check(data, held_out=0.1, seed=0, keep_near_copies=together)


def test_a_data_set_without_copies_has_no_notes():
    checked = split(source(pictures(60)))
    assert (checked.copies, checked.leaks) == ([], [])


def test_exact_copies_are_counted():
    images = np.tile(pictures(40), (3, 1, 1, 1))
    checked = split(source(images))
    assert checked.leaks == []
    assert checked.copies == ["80 of 120 images repeat the pixels of another: copies are kept in one split"]


def test_copies_across_a_published_split_are_counted():
    images, parts = pictures(40), np.repeat(["train", "test"], [30, 10])
    images[[30, 31]] = images[[0, 5]]
    checked = split(source(images, parts=parts))
    assert checked.copies == []
    (note,) = checked.leaks
    assert note.startswith("2 of 10 test images have the same pixels as a training image: the published split is kept")


def test_near_copies_are_counted_and_kept_together_on_request():
    originals = pictures(100)
    images = np.concatenate([originals, np.stack([jpeg(image) for image in originals])])
    data = source(images, np.tile(np.arange(100) % 2, 2))
    drawn = split(data)
    apart = [row for row in drawn.rows.test.tolist() if (row + 100) % 200 not in drawn.rows.test]
    assert len(apart) > 20
    (note,) = drawn.leaks
    assert note.startswith(f"{len(apart)} of {len(drawn.rows.test)} test images have a near copy among the others")
    assert "--group-near-copies" in note
    grouped = split(data, together=True)
    assert grouped.leaks == []
    assert all({*(part % 100).tolist()}.isdisjoint((grouped.rows.test % 100).tolist()) for part in grouped.rows[:2])


def test_a_near_copy_of_an_exact_copy_is_counted():
    originals = pictures(40)
    images = np.concatenate([originals, jpeg(originals[0])[None], originals[:1]])
    data = source(images, np.append(np.arange(40) % 2, [0, 0]))
    rows = leaks.SplitRows(np.arange(1, 40), np.array([], np.int64), np.array([0, 40, 41]))
    pairs = leaks.find_near_copies(data)
    assert leaks.near_copies_in_test(data, rows, pairs).tolist() == [False] * 3
    rows = leaks.SplitRows(np.arange(1, 41), np.array([], np.int64), np.array([0, 41]))
    assert leaks.near_copies_in_test(data, rows, pairs).tolist() == [True, True]
