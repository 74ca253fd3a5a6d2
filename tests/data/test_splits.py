"""Splits: shares up to rounding, undivided groups, given parts, and the same rows on every machine."""

import numpy as np
import pytest

from robustkd.data.sources import load_dataset
from robustkd.data.splits import describe_split, split_source
from robustkd.data.view import Source
from robustkd.errors import UsageError


def source(counts, **others):
    """A data set with the given numbers of rows per class, shuffled, and blank images."""
    return labelled(np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts)), **others)


def labelled(labels, images=None, **others):
    classes = tuple("abcdefgh"[: labels.max() + 1])
    images = np.zeros((len(labels), 1, 2, 2), np.uint8) if images is None else images
    return Source("toy", images, labels, classes, **others)


def noise(count):
    """Different images: (count, 1, 4, 4)."""
    return np.random.default_rng(0).integers(0, 256, (count, 1, 4, 4), dtype=np.uint8)


def images_of(data, rows):
    return {data.images[row].tobytes() for row in rows}


def are_disjoint(*sets):
    return len(set().union(*sets)) == sum(map(len, sets))


def counts(data, rows):
    return list(np.bincount(data.labels[rows], minlength=len(data.classes)))


def test_default_shares_of_test_and_held_out_rows():
    data = source([100, 40, 2, 6])
    train, held_out, test = split_source(data, held_out=0.1, seed=0)
    assert counts(data, test) == [25, 10, 1, 2]  # rint of 25, 10, 0.5 (to even, but at least one) and 1.5
    assert counts(data, held_out) == [8, 3, 0, 0]  # rint of 7.5, 3, 0.1 and 0.4
    assert sorted(np.concatenate([train, held_out, test])) == list(range(148))
    for rows in (train, held_out, test):
        assert rows.dtype == np.int64
        assert (np.diff(rows) > 0).all()


def test_a_split_depends_on_its_seed_only():
    data = source([100, 40])
    one, again, other = (split_source(data, held_out=0.1, seed=seed) for seed in (0, 0, 1))
    assert all((a == b).all() for a, b in zip(one, again, strict=True))
    assert (one.test != other.test).any()
    assert (one.held_out != other.held_out).any()


def test_the_rows_drawn_never_change():
    # A change of these rows would change every published split.
    train, held_out, test = split_source(labelled(np.tile([0, 1], 8)), held_out=0.25, seed=0)
    assert (list(test), list(held_out)) == ([3, 12, 13, 14], [0, 4, 7, 11])
    assert len(train) == 8


def test_larger_shares_are_supersets_and_test_rows_do_not_change():
    data = source([100, 40])
    none, some, more = (split_source(data, held_out=share, seed=0) for share in (0, 0.1, 0.3))
    assert (none.test == some.test).all()
    assert (some.test == more.test).all()
    assert len(none.held_out) == 0
    assert none.held_out.dtype == np.int64
    assert set(some.held_out) < set(more.held_out)


def test_no_class_is_held_out_completely():
    data = source([2, 3, 50], parts=np.repeat(["train", "test"], [50, 5]))
    train, held_out, _ = split_source(data, held_out=0.95, seed=0)
    assert min(counts(data, train)) >= 1
    assert counts(data, held_out)[2] > 30


@pytest.mark.parametrize("share", [0, 0.1])
def test_given_parts_are_kept(share):
    parts = np.array((["train"] * 6 + ["val"] * 2 + ["test"] * 2) * 4)
    train, held_out, test = split_source(source([20, 20], parts=parts), held_out=share, seed=0)
    assert (train == np.flatnonzero(parts == "train")).all()
    assert (test == np.flatnonzero(parts == "test")).all()
    assert list(held_out) == (list(np.flatnonzero(parts == "val")) if share else [])


def test_held_out_rows_are_drawn_next_to_a_given_test_part():
    parts = np.repeat(["train", "test"], [30, 10])
    train, held_out, test = split_source(source([20, 20], parts=parts), held_out=0.2, seed=0)
    assert list(test) == list(range(30, 40))
    assert len(held_out) == 6
    assert len(train) == 24


def test_given_parts_are_used_as_given():
    data = source([20, 20], parts=np.repeat(["train", "val", "test"], [24, 8, 8]), part_names={"val": "dev/"})
    rows = split_source(data, held_out=0.2, seed=0)
    assert [list(members) for members in rows] == [list(range(24)), list(range(24, 32)), list(range(32, 40))]
    assert describe_split(data, rows) == "train 24 images -> training; dev/ 8 images -> held out; test 8 images -> test"
    rows = split_source(data, held_out=0, seed=0)
    assert describe_split(data, rows) == "train 24 images -> training; dev/ 8 images -> not used; test 8 images -> test"


def test_a_val_part_without_a_test_part_is_the_test_split():
    data = source([20, 20], parts=np.repeat(["train", "val"], [32, 8]))
    rows = split_source(data, held_out=0.2, seed=0)
    assert list(rows.test) == list(range(32, 40))
    assert sorted([*rows.train, *rows.held_out]) == list(range(32))
    assert len(rows.held_out) == 6
    assert describe_split(data, rows) == "train 32 images -> 26 training, 6 held out; val 8 images -> test"


def grouped(kinds=3, groups=12, size=5):
    """Groups of near copies, each of one class."""
    labels = np.repeat(np.arange(kinds), groups * size)
    return labelled(labels, groups=np.repeat(np.arange(kinds * groups), size))


@pytest.mark.parametrize(("share", "least", "most"), [(0, 0, 0), (0.1, 5, 25), (0.25, 25, 45), (0.4, 40, 65)])
def test_groups_are_not_divided(share, least, most):
    data = grouped()
    splits = split_source(data, held_out=share, seed=0)
    seen = [set(data.groups[rows]) for rows in splits]
    assert sum(map(len, seen)) == 36
    assert set.union(*seen) == set(range(36))
    assert sum(map(len, splits)) == 180
    assert counts(data, splits.test) == [15, 15, 15]
    assert least <= len(splits.held_out) <= most
    assert min(counts(data, splits.train)) > 0
    again = split_source(data, held_out=share, seed=0)
    assert all((a == b).all() for a, b in zip(splits, again, strict=True))
    assert (split_source(data, held_out=share, seed=1).test != splits.test).any()


def test_many_singleton_groups_are_divided_as_finely_as_rows():
    labels = np.repeat([0, 1, 2], [40_000, 900, 30])
    groups = np.arange(len(labels))
    groups[:1000] //= 10  # 100 groups of ten among them
    data = labelled(labels, groups=groups)
    rows = split_source(data, held_out=0.1, seed=0)
    assert np.abs(np.array(counts(data, rows.test)) - 0.25 * np.bincount(labels)).max() < 60
    assert np.abs(np.array(counts(data, rows.held_out)) - 0.075 * np.bincount(labels)).max() < 60
    assert min(*counts(data, rows.test), *counts(data, rows.train)) > 0
    seen = [set(data.groups[part].tolist()) for part in rows]
    assert sum(map(len, seen)) == len(np.unique(groups))


def test_a_class_in_one_group_is_not_held_out():
    labels = np.repeat([0, 1, 0], [50, 5, 10])
    data = labelled(labels, groups=np.arange(65) // 5, parts=np.repeat(["train", "test"], [55, 10]))
    for seed in range(8):
        assert counts(data, split_source(data, held_out=0.5, seed=seed).train)[1] == 5


def test_too_few_groups_are_refused():
    data = grouped(kinds=2, groups=4)
    lonely = np.where(data.labels == 1, 99, data.groups)  # all of class b in one group
    with pytest.raises(UsageError, match=r"25%.*group.*class 'b' is in 1 of the groups"):
        split_source(labelled(data.labels, groups=lonely), held_out=0, seed=0)
    with pytest.raises(UsageError, match="class 'a' is in 1 of the groups"):
        split_source(grouped(kinds=2, groups=1), held_out=0, seed=0)


def test_a_class_too_small_for_a_test_split_is_named():
    with pytest.raises(UsageError, match="toy: class 'b' has 1 images"):
        split_source(source([9, 1]), held_out=0, seed=0)
    assert (
        len(split_source(source([9, 1], parts=np.repeat(["train", "test"], [9, 1])), held_out=0.1, seed=0).train) == 8
    )


@pytest.mark.parametrize("share", [-0.1, 1, 1.5, float("nan")])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(UsageError, match=f"held-out is {share}"):
        split_source(source([9, 9]), held_out=share, seed=0)


def test_shares_of_digits():
    data = load_dataset("digits")
    train, held_out, test = split_source(data, held_out=0.1, seed=0)
    assert np.abs(np.array(counts(data, test)) - 0.25 * np.bincount(data.labels)).max() <= 0.5
    assert len(train) + len(held_out) + len(test) == 1797


@pytest.mark.parametrize("seed", range(5))
def test_rows_with_identical_pixels_are_in_one_split(seed):
    data = labelled(np.tile(np.arange(150) % 3, 3), np.tile(noise(150), (3, 1, 1, 1)))
    rows = split_source(data, held_out=0.1, seed=seed)
    train, held_out, test = (images_of(data, part) for part in rows)
    assert are_disjoint(train, held_out, test)
    assert [len(part) for part in (train, held_out, test)] == [
        102,
        12,
        36,
    ]  # 50 images per class: 12 tested, 4 held out
    assert [len(part) for part in rows] == [306, 36, 108]


def test_a_split_without_copies_is_that_of_its_rows():
    labels = np.arange(200) % 4
    blank, different = (split_source(labelled(labels, images), held_out=0.1, seed=3) for images in (None, noise(200)))
    assert all((one == other).all() for one, other in zip(blank, different, strict=True))


def test_a_copy_follows_its_first_row_and_moves_no_other():
    labels, images = np.arange(200) % 4, noise(200)
    before = split_source(labelled(labels, images), held_out=0.1, seed=0)
    data = labelled(np.append(labels, labels[7]), np.append(images, images[7:8], axis=0))
    after = split_source(data, held_out=0.1, seed=0)
    assert all((part[part != 200] == old).all() for part, old in zip(after, before, strict=True))
    assert [200 in part for part in after] == [7 in part for part in before]


def test_copies_join_groups_across_splits():
    groups = np.repeat(np.arange(40), 3)
    images = noise(120)
    images[3::6] = images[0:-3:6]  # groups 0 and 1 share an image, 2 and 3, ...
    data = labelled(np.repeat(np.arange(40) % 4 // 2, 3), images, groups=groups)
    for seed in range(3):
        rows = split_source(data, held_out=0.2, seed=seed)
        pairs = [set((groups[part] // 2).tolist()) for part in rows]
        assert are_disjoint(*pairs)


def test_an_image_under_two_labels_is_in_one_split():
    # As in a table with a row per image and label: every image of class b is one of class a, too.
    data = labelled(np.repeat([0, 1], 40), np.tile(noise(40), (2, 1, 1, 1)))
    train, held_out, test = (images_of(data, part) for part in split_source(data, held_out=0.2, seed=0))
    assert are_disjoint(train, held_out, test)
    assert len(test) == 10


def test_a_class_of_one_image_cannot_be_divided():
    images = noise(40)
    images[:20] = images[0]
    with pytest.raises(
        UsageError, match="class 'a' is in 1 of the groups, and images with identical pixels are one group"
    ):
        split_source(labelled(np.repeat([0, 1], 20), images), held_out=0.1, seed=0)


def test_a_published_split_keeps_its_copies():
    parts = np.repeat(["train", "test"], [30, 10])
    images = noise(40)
    images[30:] = images[:10]
    rows = split_source(labelled(np.arange(40) % 2, images, parts=parts), held_out=0, seed=0)
    assert (rows.test == np.arange(30, 40)).all()
    assert (rows.train == np.arange(30)).all()
