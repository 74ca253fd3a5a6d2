"""Labels, groups and parts given as arrays."""

import re
from typing import Any

import numpy as np
import pytest

from robustkd.data.array_values import ArrayReader
from robustkd.errors import UsageError

IMAGES = np.zeros((4, 2, 2), np.uint8)


@pytest.mark.parametrize(
    ("labels", "values"),
    [
        (np.array([1, 0, 2, 1], np.uint8), [1, 0, 2, 1]),
        (np.array([[1], [0], [2], [1]]), [1, 0, 2, 1]),
        (np.array([1.0, 0.0, 2.0, 1.0]), [1, 0, 2, 1]),
        (np.eye(3)[[1, 0, 2, 1]], [1, 0, 2, 1]),
        (np.eye(3, dtype=bool)[[1, 0, 2, 1]], [1, 0, 2, 1]),
        (np.array([["b"], ["a"], ["c"], ["b"]]), ["b", "a", "c", "b"]),
    ],
)
def test_labels_in_several_forms(labels: np.ndarray[Any, Any], values: list[Any]) -> None:
    reader = ArrayReader("toy", {"X": IMAGES, "y": labels}, {})
    joined = reader.joined_values("y", reader.lengths())
    assert joined is not None
    assert joined.tolist() == values
    assert bool(reader.notes) == (labels.ndim > 1 or labels.dtype.kind == "f")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([1.5, 0, 2, 1]), "y is float64, but must be integers or texts"),
        (np.array([np.nan, 0, 2, 1]), "y is float64"),
        (np.eye(4)[[1, 0, 2, 1]] + np.eye(4)[0], "y has shape (4, 4), but an image has one label"),
        (np.zeros((4, 2), int), "y has shape (4, 2), but an image has one label"),
        (np.zeros((4, 2, 2), int), "y has shape (4, 2, 2), but must be (4,)"),
        (np.zeros(3, int), "y has shape (3,), but must be (4,)"),
    ],
)
def test_other_labels_are_refused(labels: np.ndarray[Any, Any], message: str) -> None:
    reader = ArrayReader("toy", {"X": IMAGES, "y": labels}, {})
    with pytest.raises(UsageError, match=re.escape(f"toy: {message}")):
        reader.joined_values("y", reader.lengths())


def test_a_part_needs_images_and_labels() -> None:
    arrays = {"X": IMAGES, "y": np.arange(4), "X_val": IMAGES}
    with pytest.raises(UsageError, match="there is V, but no y_val"):
        ArrayReader("toy", arrays, {"X_val": "V"})
    assert ArrayReader("toy", arrays, {}, labelled=False).parts == ["train", "val"]
    with pytest.raises(UsageError, match="clean_test is given, but there are no test images"):
        ArrayReader("toy", {**arrays, "y_val": np.arange(4), "clean_test": np.arange(4)}, {})
