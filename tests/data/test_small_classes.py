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
    assert smaller.notes == (
        "--min-class 2: 1 of 3 classes with 1 images are left out, which have fewer training images: NA (1)",
    )


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
