"""Views that the tests of label noise share, and a count of what became of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import scenarios
from robustkd.data.view import Source, View
from robustkd.errors import UsageError

REAL = Path(__file__).parents[3] / "shared" / "data"
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def view(labels: Sequence[int], classes: int | Sequence[str], seed: int = 0) -> View:
    """Labels of classes called 0 to K - 1, or as told, under images of one pixel."""
    names = tuple(map(str, range(classes))) if isinstance(classes, int) else tuple(classes)
    shown = np.asarray(labels, dtype=np.int64)
    return View.of(Source("toy", np.zeros((len(shown), 1, 1, 1), np.uint8), shown, names), seed=seed)


def even(each: int, classes: int | Sequence[str], seed: int = 0) -> View:
    """As many labels of each class."""
    return view(np.repeat(np.arange(classes if isinstance(classes, int) else len(classes)), each), classes, seed)


def counted(before: View, after: View) -> list[list[int]]:
    """How many labels of i are shown as j, counted one by one."""
    assert before.rows.tolist() == after.rows.tolist(), "label noise neither takes nor moves rows"
    matrix = [[0] * len(before.classes) for _ in before.classes]
    for i, j in zip(before.labels.tolist(), after.labels.tolist(), strict=True):
        matrix[i][j] += 1
    return matrix


def refused(words: str, shown: View, *said: str) -> None:
    """It is refused, in one sentence that says all of this."""
    with pytest.raises(UsageError) as caught:
        scenarios.parse(words)(shown)
    sentence = str(caught.value)
    assert "\n" not in sentence
    for text in said:
        assert text in sentence, sentence
