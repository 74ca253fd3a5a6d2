"""Data sets from arrays and npz files: what is read, what is refused, and saving."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robustkd.data import arrays as arrays_module
from robustkd.data import npz_file
from robustkd.data.arrays import from_arrays, save_npz
from robustkd.data.sources import load_dataset
from robustkd.data.splits import split_source
from robustkd.errors import UsageError
from tests.data.image_files import REAL_DATA, annotated_source, assert_refused, make_folder


@pytest.fixture
def arrays(tmp_path):
    """Save an npz file with some arrays replaced or, if None, omitted; return the data set's name."""

    def change(**others):
        plain = {"X": np.arange(6 * 4 * 4 * 3, dtype=np.uint8).reshape(6, 4, 4, 3), "y": np.array([3, 9, 3, 9, 3, 9])}
        path = tmp_path / "mine.npz"
        np.savez(path, **{name: array for name, array in {**plain, **others}.items() if array is not None})
        return f"npz:{path}"

    return change


def test_npz(arrays):
    source = load_dataset(arrays())
    assert source.images.shape == (6, 3, 4, 4)
    assert list(source.images[0, :, 0, 1]) == [3, 4, 5]
    assert list(source.labels) == [0, 1] * 3
    assert source.classes == ("3", "9")
    assert (source.truth, source.parts, source.groups, source.flips) == (None, None, None, False)
    assert source.fingerprint == load_dataset(arrays()).fingerprint
    assert source.fingerprint != load_dataset(arrays(y=np.array([3, 8, 3, 8, 3, 8]))).fingerprint


def test_npz_of_grey_images(arrays):
    grey = np.arange(96, dtype=np.uint8).reshape(6, 4, 4)
    assert (load_dataset(arrays(X=grey)).images[:, 0] == grey).all()
    assert (load_dataset(arrays(X=grey[..., None])).images[:, 0] == grey).all()


def test_npz_with_a_test_part_and_groups(arrays):
    more, group = np.zeros((2, 4, 4, 3), np.uint8), np.array(["b", "b", "a", "a", "c", "c"])
    source = load_dataset(arrays(X_test=more, y_test=np.array([9, 3], np.uint8), group=group))
    assert list(source.parts) == ["train"] * 6 + ["test"] * 2
    assert list(source.labels[-2:]) == [1, 0]
    assert list(source.groups) == [1, 1, 0, 0, 2, 2, 3, 4]  # the last two have no group: each is one of its own
    test_part = {"X_test": more, "y_test": np.array([9, 3], np.uint8), "group": group}
    assert list(load_dataset(arrays(**test_part, group_test=np.array(["d", "e"]))).groups) == [1, 1, 0, 0, 2, 2, 3, 4]
    assert_refused(arrays(**test_part, group_test=np.array(["d", "a"])), "group 'a' is in train and test")


def test_npz_class_names(arrays):
    assert load_dataset(arrays(classes=np.array(list("abcdefghij")))).classes == ("d", "j")
    assert load_dataset(arrays(y=np.array(["cat", "dog"] * 3))).classes == ("cat", "dog")
    assert load_dataset(arrays(y=np.array([b"cat", b"dog"] * 3))).classes == ("cat", "dog")
    assert load_dataset(arrays(y=np.array([True, False] * 3), classes=np.array(["no", "yes"]))).classes == ("no", "yes")
    assert_refused(arrays(classes=np.array(["a", "b"])), "classes has names for 0 to 1", "3 to 9")
    assert_refused(arrays(y=np.array([-1, 1] * 3), classes=np.array(["a", "b"])), "-1 to 1")


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ({"X": None}, ("no X", "it has: y")),
        ({"X": None, "y": None, "Z": np.zeros(1)}, ("no X and no y", "it has: Z")),
        ({"X_test": np.zeros((1, 4, 4, 3), np.uint8)}, ("no y_test",)),
        ({"y_test": np.zeros(1, int)}, ("no X_test",)),
        ({"X": np.full((6, 4, 4, 3), -1.0)}, ("X: float64 from -1 to -1", "from 0 to 1 or from 0 to 255")),
        ({"X": np.zeros((6, 4, 4, 4), np.uint8)}, ("X has shape (6, 4, 4, 4)", "with C of 1 or 3")),
        ({"X": np.zeros((0, 4, 4), np.uint8)}, ("X has shape (0, 4, 4)",)),
        ({"y": np.arange(5)}, ("y has shape (5,)", "(6,)")),
        ({"y": np.arange(6) / 2}, ("y is float64", "integers")),
        ({"y": np.ones((6, 2), int)}, ("y has shape (6, 2)", "a single 1 in each row")),
        ({"x_train": np.zeros((6, 4, 4), np.uint8)}, ("the arrays 'X' and 'x_train' could each be X",)),
        ({"y": np.zeros(6, int)}, ("y is '0' in all rows", "two classes")),
        ({"y": np.array(["cat"] * 6, object)}, ("not a file of plain arrays", "pickle")),
        ({"group": np.arange(4)}, ("group has shape (4,)",)),
        ({"X_test": np.zeros((1, 5, 4, 3), np.uint8), "y_test": np.array([3])}, ("X_test", "(3, 5, 4)", "(3, 4, 4)")),
        (
            {"X_test": np.zeros((1, 4, 4, 3), np.uint8), "y_test": np.array([4])},
            ("test has classes", "does not have: 4"),
        ),
        (
            {"X_test": np.zeros((1, 4, 4, 3), np.uint8), "y_test": np.array(["3"])},
            ("y_test contains texts", "integers"),
        ),
    ],
)
def test_invalid_npz_files_are_refused(arrays, others, expected):
    assert_refused(arrays(**others), "npz:", *expected)


def test_missing_and_damaged_npz_files_are_refused(arrays, tmp_path):
    assert_refused(f"npz:{tmp_path / 'min.npz'}", "there is no")
    assert_refused(f"npz:{tmp_path}", "is a folder, not a file")
    path = Path(arrays().removeprefix("npz:"))
    path.write_bytes(path.read_bytes()[:100])
    assert_refused(f"npz:{path}", "not a file of plain arrays")
    path.write_text("not an archive")
    assert_refused(f"npz:{path}", "not a file of plain arrays")
    np.savez(path, X=np.array([np.zeros((8, 8)), np.zeros((7, 7))], object), y=[0, 1])
    with pytest.raises(UsageError, match=f"^npz:{path}: {path} is not a file of plain arrays"):
        load_dataset(f"npz:{path}")


# Clean labels, parts and groups


def test_clean_labels_are_the_truth_of_their_rows(arrays):
    assert list(load_dataset(arrays(clean=np.array([3, 3, -1, 9, -1, -1]))).truth) == [0, 0, -1, 1, -1, -1]
    named = {"y": np.array(["cat", "dog"] * 3), "clean": np.array(["cat", "", "dog", "", "", "dog"])}
    assert list(load_dataset(arrays(**named)).truth) == [0, -1, 1, -1, -1, 1]
    assert load_dataset(arrays(clean=np.full(6, -1))).truth is None
    signed = {"y": np.array([-1, 1] * 3), "clean": np.array([-1, -1, 1, 1, 1, 1])}
    assert list(load_dataset(arrays(**signed)).truth) == [0, 0, 1, 1, 1, 1]  # -1 is a class here
    more = {"X_test": np.zeros((2, 4, 4, 3), np.uint8), "y_test": np.array([9, 3])}
    assert list(load_dataset(arrays(**more, clean_test=np.array([9, -1]))).truth) == [-1] * 6 + [1, -1]


def test_a_split_for_every_row(arrays):
    source = load_dataset(arrays(split=np.array(["train", "Train", "VALID", "validation", "test", "Test"])))
    assert list(source.parts) == ["train", "train", "val", "val", "test", "test"]


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ({"clean": np.array([3, 8, 3, 9, 3, 9])}, ("row 1: clean '8' is not among the labels",)),
        ({"clean": np.array(["3"] * 6)}, ("clean '3' is not among",)),
        ({"clean_test": np.array([3])}, ("clean_test is given, but there are no test images",)),
        ({"group_test": np.array([3])}, ("group_test is given",)),
        ({"split": np.array(["train"] * 4 + ["tset"] * 2)}, ("row 4: split 'tset'", "did you mean 'test'")),
        ({"split": np.array(["train"] * 4 + [""] * 2)}, ("row 4 has no split",)),
        ({"split": np.array(["test"] * 6)}, ("split leaves no row for training",)),
        ({"split": np.array(["train", "test"] * 3)}, ("test has classes that train does not have: 9",)),
        (
            {
                "split": np.array(["train"] * 4 + ["test"] * 2),
                "X_test": np.zeros((1, 4, 4, 3), np.uint8),
                "y_test": [3],
            },
            ("split and X_test both define the test rows",),
        ),
        (
            {"split": np.array(["train", "train", "val", "val", "test", "test"]), "group": np.array(list("abacdd"))},
            ("group 'a' is in train and val",),
        ),
        ({"y": np.array(["cat", "", "dog"] * 2)}, ("row 1 has no y",)),
        ({"classes": np.array(["a"] * 10)}, ("classes contains the name 'a' twice",)),
        ({"Clean": np.arange(6)}, ("Clean '0' is not among the labels",)),
    ],
)
def test_invalid_annotations_are_refused(arrays, others, expected):
    assert_refused(arrays(**others), "npz:", *expected)


def test_errors_name_the_parameters_of_from_arrays():
    images, labels = np.zeros((4, 8, 8), np.uint8), pd.Series(["a", "b"] * 2)
    assert from_arrays(images, labels).classes == ("a", "b")
    test = (images, np.array([1, 0, 1, 0]))
    for create, expected in (
        (lambda: from_arrays(images - 0.5, labels), "arrays: images: float64 from -0.5 to -0.5"),
        (lambda: from_arrays(images, labels[:3]), r"arrays: labels has shape \(3,\)"),
        (lambda: from_arrays(images, labels, groups=[1]), "arrays: groups has shape"),
        (
            lambda: from_arrays(images, labels, test=test, name="mine"),
            r"mine: test\[1\] contains integers, but labels",
        ),
        (lambda: from_arrays(images, ["a"] * 4), "arrays: labels is 'a' in all rows"),
    ):
        with pytest.raises(UsageError, match=expected):
            create()


@pytest.mark.parametrize("which", ["annotated", "plain", "digits", "folder"])
def test_a_saved_data_set_is_loaded_unchanged(tmp_path, which):
    before = {
        "annotated": annotated_source,
        "plain": lambda: annotated_source(
            images=np.zeros((8, 5, 6), np.uint8), parts=None, clean=None, groups=None, flips=False
        ),
        "digits": lambda: load_dataset("digits"),
        "folder": lambda: load_dataset(f"folder:{make_folder(tmp_path / 'photos', count=3)}"),
    }[which]()
    save_npz(before, tmp_path / "saved.npz")
    after = load_dataset(f"npz:{tmp_path / 'saved.npz'}")
    assert after.fingerprint == before.fingerprint
    assert (after.classes, after.flips, after.shape) == (before.classes, before.flips, before.shape)
    for name in ("images", "labels", "truth", "parts"):
        one, two = getattr(before, name), getattr(after, name)
        assert (one is None) == (two is None)
        assert one is None or (one == two).all()
    same = [None if s.groups is None else (s.groups[:, None] == s.groups).tolist() for s in (before, after)]
    assert same[0] == same[1]


def test_a_class_without_images_cannot_be_saved(tmp_path):
    source = load_dataset("digits")
    with pytest.raises(UsageError, match="class 'ten' has no image"):
        save_npz(replace(source, classes=(*source.classes, "ten")), tmp_path / "a.npz")


def test_tracks_of_real_traffic_signs_are_not_divided(tmp_path):
    place = REAL_DATA / "gtsrb32" / "gtsrb32_every3.npz"
    if not place.is_file():
        pytest.skip("real data not present")
    with np.load(place) as signs:
        track = signs["y"].astype(np.int64) * 100_000 + signs["track"]  # tracks are counted anew in each class
        np.savez(tmp_path / "signs.npz", X=signs["X"], y=signs["y"], group=track)
    source = load_dataset(f"npz:{tmp_path / 'signs.npz'}")
    assert source.images.shape == (8879, 3, 32, 32)
    assert len(source.classes) == 43
    assert source.classes[10] == "10"
    rows = split_source(source, held_out=0.1, seed=0)
    seen = [set(source.groups[part].tolist()) for part in rows]
    assert sum(map(len, seen)) == len(set.union(*seen)) == len(np.unique(track))
    assert min(np.bincount(source.labels[rows.test], minlength=43)) > 0
    assert abs(len(rows.test) / 8879 - 0.25) < 0.02


def test_labels_beyond_int64_or_utf8_are_refused(tmp_path):
    images = np.zeros((2, 8, 8), np.uint8)
    for labels, expected in (
        (np.array([2**63, 1], np.uint64), "at most 2**63 - 1"),
        (np.array([b"\xff", b"a"]), "not UTF-8"),
    ):
        with pytest.raises(UsageError) as caught:
            from_arrays(images, labels)
        assert expected in str(caught.value)


# Arrays as others save them


def as_saved_elsewhere():
    """The arrays of the plain data set with a validation and a test part, in X, y, X_val, ...."""
    rng = np.random.default_rng(0)
    content = {}
    for suffix, count in (("", 6), ("_val", 4), ("_test", 2)):
        content[f"X{suffix}"] = rng.integers(0, 256, (count, 4, 5, 3), dtype=np.uint8)
        content[f"y{suffix}"] = np.arange(count) % 2
    return content


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("x_{}", "y_{}"),
        ("X_{}", "Y_{}"),
        ("{}_images", "{}_labels"),
        ("{}X", "{}y"),
        ("images_{}", "targets_{}"),
        ("{}_data", "{}_target"),
    ],
)
def test_common_names_are_recognised_and_said(tmp_path, images, labels):
    content = as_saved_elsewhere()
    np.savez(tmp_path / "own.npz", **content)
    renamed = {}
    for suffix, part in (("", "train"), ("_val", "val"), ("_test", "test")):
        renamed[images.format(part)] = content[f"X{suffix}"]
        renamed[labels.format(part)] = content[f"y{suffix}"]
    np.savez(tmp_path / "other.npz", **renamed)
    own, other = (load_dataset(f"npz:{tmp_path / name}.npz") for name in ("own", "other"))
    assert own.parts.tolist() == ["train"] * 6 + ["val"] * 4 + ["test"] * 2
    assert other.fingerprint == own.fingerprint
    assert own.notes == ()
    assert other.notes[0].startswith("read ")
    assert f"{images.format('train')} as X" in other.notes[0]


def test_medmnist_and_its_unmarked_relatives(tmp_path):
    content = as_saved_elsewhere()
    own = from_arrays(content["X"], content["y"], test=(content["X_test"], content["y_test"]))
    (tmp_path / "d").mkdir()
    for number, (change, said) in enumerate(
        (
            ({"y": content["y"][:, None], "y_test": content["y_test"][:, None]}, "taken as (6,)"),
            ({"y": np.eye(2)[content["y"]]}, "the class is the column of the 1"),
            ({"y": content["y"].astype(np.float32)}, "float32 taken as integers"),
            ({k: content[k].transpose(0, 3, 1, 2) for k in ("X", "X_test")}, "channels first"),
            ({k: content[k] / 255 for k in ("X", "X_test")}, "float64 taken as 0 to 1"),
            ({k: (content[k] / 255).astype(np.float32) for k in ("X", "X_test")}, "float32 taken as 0 to 1"),
            ({k: content[k].astype(np.float64) for k in ("X", "X_test")}, "float64 taken as 0 to 255"),
            ({k: content[k].astype(np.int64) for k in ("X", "X_test")}, "int64 taken as 0 to 255"),
        )
    ):
        arrays = {key: array for key, array in {**content, **change}.items() if not key.endswith("_val")}
        np.savez(tmp_path / f"{number}.npz", **arrays)
        source = load_dataset(f"npz:{tmp_path / str(number)}.npz")
        assert source.fingerprint == own.fingerprint, said
        assert any(said in note for note in source.notes), source.notes


def test_positional_arrays(tmp_path):
    content = as_saved_elsewhere()
    np.savez(tmp_path / "a.npz", content["X"], content["y"])
    assert load_dataset(f"npz:{tmp_path / 'a.npz'}").notes == ("read arr_0 as X, arr_1 as y",)
    np.savez(tmp_path / "a.npz", content["X"], content["y"], content["X_test"], content["y_test"])
    assert_refused(f"npz:{tmp_path / 'a.npz'}", "has no X and no y; it has: arr_0, arr_1, arr_2, arr_3")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"X_test": np.zeros((2, 4, 5, 3))}, "X_test is float64, but X is uint8"),
        ({"X_test": np.zeros((2, 3, 4, 5), np.uint8)}, "X and X_test differ in where the channels are"),
        ({"X": np.full((6, 4, 5, 3), 1000, np.uint16), "X_test": np.zeros((2, 4, 5, 3), np.uint16)}, "from 0 to 1000"),
        (
            {k: np.full((n, 4, 5), np.nan) for k, n in (("X", 6), ("X_test", 2))},
            "X contains values that are not finite",
        ),
        ({k: np.full((n, 4, 5), 1.25) for k, n in (("X", 6), ("X_test", 2))}, "from 1.25 to 1.25"),
        ({"X": np.full((6, 4, 5), "a"), "X_test": np.full((2, 4, 5), "a")}, "X is <U1, but must be integers"),
        ({"label_test": np.zeros(2)}, "could each be y_test"),
    ],
)
def test_arrays_that_could_mean_several_things_are_refused(tmp_path, change, expected):
    content = {key: array for key, array in {**as_saved_elsewhere(), **change}.items() if not key.endswith("_val")}
    np.savez(tmp_path / "a.npz", **content)
    assert_refused(f"npz:{tmp_path / 'a.npz'}", expected)


# Files larger than memory


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("kind", ["one", "parts", "floats", "channels"])
def test_large_arrays_are_mapped_with_the_same_content(tmp_path, monkeypatch, save, kind):
    content = as_saved_elsewhere()
    if kind != "parts":
        content = {key: content[key] for key in ("X", "y")}
    content |= {"floats": {"X": content["X"] / 255}, "channels": {"X": content["X"].transpose(0, 3, 1, 2)}}.get(
        kind, {}
    )
    save(tmp_path / "a.npz", **content)
    name, options = f"npz:{tmp_path / 'a.npz'}", {"cache_dir": tmp_path / "cache"}
    small = load_dataset(name, **options)
    assert not isinstance(small.images, np.memmap)
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr(arrays_module, "MAP_BYTES", 200)
    monkeypatch.setattr(npz_file, "MAP_BYTES", 200)
    large, again = load_dataset(name, **options), load_dataset(name, **options)
    for source in (large, again):
        assert isinstance(source.images, np.memmap)
        np.testing.assert_array_equal(source.images, small.images)
        assert (source.fingerprint, source.notes, source.classes) == (small.fingerprint, small.notes, small.classes)
    direct = kind in ("one", "channels") and save is np.savez
    assert (tmp_path / "cache").exists() == (not direct)
    assert len(list((tmp_path / "cache").glob("*"))) == (0 if direct else 2)  # nothing unpacked is left


def test_a_damaged_cache_of_large_arrays_is_written_again(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", **as_saved_elsewhere())
    monkeypatch.setattr(arrays_module, "MAP_BYTES", 200)
    name, cache = f"npz:{tmp_path / 'a.npz'}", tmp_path / "cache"
    before = load_dataset(name, cache_dir=cache)
    pixels = np.array(before.images)  # the file that they are mapped from is damaged below
    (images,), (record,) = cache.glob("*.npy"), cache.glob("*.json")
    for file in (images, record):
        for damage in (b"", file.read_bytes()[:100]):
            file.write_bytes(damage)
            assert load_dataset(name, cache_dir=cache).fingerprint == before.fingerprint
            np.testing.assert_array_equal(load_dataset(name, cache_dir=cache).images, pixels)
