"""Columns of tables: which is the image, the label and the split, and how they are read."""

import re
from pathlib import Path
from typing import Any

import pytest

from robustkd.data.read_options import ColumnOptions
from robustkd.data.table_columns import RawTable, TableColumns, select_columns
from robustkd.data.view import PART_ALIASES
from robustkd.errors import UsageError


def read(options: ColumnOptions = ColumnOptions(), **columns: list[Any]) -> TableColumns:  # noqa: B008
    """Read a table of the columns, which are lists of equal length."""
    header = list(columns)
    return select_columns("toy", RawTable(header, columns.__getitem__, header, Path()), options)


IMAGES = ["a.png", "b.png", "c.png"]
LABELS = ["cat", "dog", "cat"]
PARTS = ["train", "train", "test"]


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("image", "label"),
        ("Image", "LABEL"),
        ("file_name", "label"),
        ("filename", "class"),
        ("path", "target"),
        ("id", "category"),
        ("img", "fine_label"),
        ("Image Path", "class_name"),
    ],
)
def test_common_names_are_recognised_and_said(image: str, label: str) -> None:
    columns = read(**{image: IMAGES, "coarse_label": ["x"] * 3, label: LABELS})
    assert columns.image == IMAGES
    assert columns.label is not None
    assert columns.label.tolist() == LABELS
    said = [f"the column '{name}' is read as {role}" for role, name in (("image", image), ("label", label))]
    assert list(columns.notes) == [note for note in said if "'image' is" not in note and "'label' is" not in note]


def test_a_better_name_is_preferred() -> None:
    columns = read(id=["7", "8", "9"], file_name=IMAGES, class_id=["0", "1", "0"], category=LABELS)
    assert columns.image == IMAGES
    assert columns.label is not None
    assert columns.label.tolist() == LABELS
    assert read(id=["7", "8", "9"], label=LABELS).image == ["7", "8", "9"]


def test_options_name_the_columns() -> None:
    columns = read(ColumnOptions("b", "c", "none"), a=IMAGES[::-1], b=IMAGES, c=LABELS, label=LABELS[::-1], split=PARTS)
    assert columns.image == IMAGES
    assert columns.label is not None
    assert columns.label.tolist() == LABELS
    assert columns.split is None
    assert columns.notes == ()
    assert columns.names.label == "c"


@pytest.mark.parametrize(
    ("name", "values", "parts"),
    [
        ("split", ["train", "train", "test"], ["train", "train", "test"]),
        ("subset", ["training", "dev", "testing"], ["train", "val", "test"]),
        ("Usage", ["Train", "Train ", "TEST"], ["train", "train", "test"]),
        ("kind of row", ["train", "valid", "test"], ["train", "val", "test"]),
        ("is_valid", [False, True, False], ["train", "val", "train"]),
        ("is_valid", ["0", "1", "0"], ["train", "val", "train"]),
        ("is_test", [0, 0, 1], ["train", "train", "test"]),
        ("is_train", ["True", "True", "False"], ["train", "train", "test"]),
        ("dev", ["no", "yes", "no"], ["train", "val", "train"]),
        ("test", ["0.0", "0.0", "1.0"], ["train", "train", "test"]),
    ],
)
def test_splits_by_other_names_are_read_and_said(name: str, values: list[Any], parts: list[str]) -> None:
    columns = read(**{"image": IMAGES, "label": LABELS, name: values})
    assert columns.split is not None
    assert [PART_ALIASES[part.strip().lower()] for part in columns.split] == parts
    assert (columns.notes == ()) == (name == "split")


def test_several_columns_may_mark_the_parts() -> None:
    columns = read(image=IMAGES, label=LABELS, is_valid=[0, 1, 0], is_test=[0, 0, 1])
    assert columns.split is not None
    assert columns.split.tolist() == ["train", "val", "test"]
    assert columns.notes == ("the columns 'is_valid' and 'is_test' are read as the split into train, val and test",)


def test_columns_without_a_split_are_not_taken_for_one() -> None:
    columns = read(image=IMAGES, label=["train", "bus", "bus"], site=["train", "train", "x"], dev=["", "", ""])
    assert columns.split is None
    assert columns.notes == ()


def test_columns_of_0_and_1_are_classes() -> None:
    marks = {"MEL": ["1.0", "0.0", "0.0"], "NV": ["0.0", "1.0", "0.0"], "BCC": ["0.0", "0.0", "1.0"]}
    columns = read(image=IMAGES, age=["3", "40", "1"], **marks)
    assert columns.label is not None
    assert columns.label.tolist() == ["MEL", "NV", "BCC"]
    assert columns.notes == ("labels are read from the columns of 0 and 1: MEL, NV, BCC",)
    columns = read(ColumnOptions(label="cat, dog"), image=IMAGES, cat=[1, 0, 0], dog=[0, 1, 1], male=[1, 1, 0])
    assert columns.label is not None
    assert columns.label.tolist() == ["cat", "dog", "dog"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"path": IMAGES, "file": IMAGES, "label": LABELS},
            "'path' and 'file' could each be the image: --image-column",
        ),
        (
            {"image": IMAGES, "class": LABELS, "target": LABELS},
            "'class' and 'target' could each be the label: --label-",
        ),
        ({"image": IMAGES, "label": LABELS, "Group": LABELS, "group ": LABELS}, "call one of them 'group'"),
        ({"image": IMAGES}, "there is no column 'label'; there are: image; --label-column names"),
        ({"cat/1.png": IMAGES, "cat": LABELS}, "if the first line is a row, too: --no-header"),
        ({"image": IMAGES, "label": LABELS, "split": [0, 1, 0]}, "row 0: split '0' does not say which part is meant"),
        (
            {"image": IMAGES, "label": LABELS, "subset": ["train", "x", "y"]},
            "row 1: subset 'x' is none of train, val and",
        ),
        ({"image": IMAGES, "label": LABELS, "fold": [0, 1, 2]}, "--split-column names another column, or none"),
        ({"image": IMAGES, "label": LABELS, "is_valid": ["a", "b", "c"]}, "row 0: is_valid 'a' is none of"),
        ({"image": IMAGES, "label": LABELS, "split": PARTS, "subset": PARTS}, "'split' and 'subset' could each be"),
        (
            {"image": IMAGES, "label": LABELS, "split": PARTS, "is_test": [0, 0, 1]},
            "'split' and 'is_test' could each be",
        ),
        (
            {"image": IMAGES, "label": LABELS, "is_val": [0, 1, 0], "is_test": [0, 1, 1]},
            "row 1: 2 of 'is_val' and 'is_te",
        ),
        ({"image": IMAGES, "cat": [1, 0, 1], "dog": [0, 0, 1]}, "row 1: 0 of the columns 'cat' and 'dog' are 1"),
    ],
)
def test_ambiguous_tables_are_refused_with_what_decides(columns: dict[str, list[Any]], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        read(**columns)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ColumnOptions(image="imgae"), "--image-column imgae: there is no such column (did you mean 'image'?)"),
        (ColumnOptions(split="x"), "--split-column x: there is no such column; there are: image, label, a"),
        (ColumnOptions(label="label,b"), "--label-column b: there is no such column"),
        (ColumnOptions(label="label,a"), "the column 'label' contains other values than 0 and 1"),
    ],
)
def test_named_columns_must_exist(options: ColumnOptions, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        read(options, image=IMAGES, label=LABELS, a=[0, 1, 0])
