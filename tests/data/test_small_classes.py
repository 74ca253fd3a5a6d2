"""Classes with too few training images are left out on request."""

import numpy as np
import pytest

from robustkd.data.small_classes import leave_out_small_classes
from robustkd.data.sources import load_dataset
from robustkd.errors import UsageError
from tests.data.image_files import annotated_source, assert_refused, make_folder


def test_rows_of_small_classes_are_left_out():
    source = annotated_source()  # training labels: 0, 1, 2, 1, 0, 2
    smaller = leave_out_small_classes(annotated_source(labels=[0, 1, 2, 1, 0, 1, 1, 0]), 2)
    kept = [0, 1, 3, 4, 5, 6, 7]
    assert smaller.classes == ("ä", "b, c")
    assert smaller.labels.tolist() == [0, 1, 1, 0, 1, 1, 0]
    assert smaller.truth.tolist() == [0, -1, -1, -1, -1, -1, -1], "a true label that is left out is unknown"
    assert (smaller.images == source.images[kept]).all()
    assert (smaller.parts == source.parts[kept]).all()
    assert (smaller.groups == source.groups[kept]).all()
    assert smaller.notes == ("--min-class 2 leaves out 1 of 3 classes (1 images in all): NA (1)",)


def test_nothing_changes_without_small_classes():
    source = annotated_source()
    assert leave_out_small_classes(source, 2) is source


def test_at_least_two_classes_are_left():
    with pytest.raises(UsageError, match="--min-class 9 leaves fewer than two classes; the largest have 2 and 2"):
        leave_out_small_classes(annotated_source(), 9)


def test_the_result_equals_a_data_set_without_these_classes(tmp_path):
    root = make_folder(tmp_path / "all", ("cat", "dog"), 4)
    without = load_dataset(f"folder:{root}")
    make_folder(root, ("ant",), 2)
    (root / "cow").mkdir()
    assert_refused(f"folder:{root}", "no images to train on of cow", "--min-class 1 leaves such classes out")
    smaller = load_dataset(f"folder:{root}", min_class=3)
    assert smaller.classes == without.classes
    assert smaller.files == without.files
    assert smaller.fingerprint == without.fingerprint
    assert np.array_equal(smaller.images, without.images)
    assert load_dataset(f"folder:{root}", min_class=1).classes == ("ant", "cat", "dog")


def test_a_class_of_the_test_part_only_is_left_out(tmp_path):
    make_folder(tmp_path, ("cat", "dog"), part="train")
    make_folder(tmp_path, ("cat", "dog", "newt"), part="test")
    assert load_dataset(f"folder:{tmp_path}", min_class=1).classes == ("cat", "dog")


def test_tables_and_arrays(tmp_path):
    root = make_folder(tmp_path, ("ant", "bee", "cow"), 3)
    rows = [f"{name}/{number}.png,{name},train" for name in ("ant", "bee") for number in range(3)]
    (root / "t.csv").write_text("\n".join(["image,label,split", *rows, "cow/0.png,cow,test", "ant/0.png,ant,test"]))
    assert_refused(f"csv:{root / 't.csv'}", "test has classes that train does not have: cow; --min-class 1")
    source = load_dataset(f"csv:{root / 't.csv'}", min_class=3)
    assert source.classes == ("ant", "bee")
    assert source.files[-1] == "ant/0.png"
    images = np.zeros((6, 8, 8), np.uint8)
    np.savez(root / "a.npz", X=images, y=[0, 0, 0, 1, 1, 1], X_test=images[:2], y_test=[2, 0])
    assert_refused(f"npz:{root / 'a.npz'}", "test has classes that train does not have: 2; --min-class 1")
    assert load_dataset(f"npz:{root / 'a.npz'}", min_class=3).labels.tolist() == [0, 0, 0, 1, 1, 1, 0]
    assert len(load_dataset("digits", min_class=180).classes) == 6
