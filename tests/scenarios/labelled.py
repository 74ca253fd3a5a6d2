"""Views and helpers shared by the tests of label noise and class sizes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import scenarios
from robustkd.data.view import Source, View
from robustkd.errors import UsageError

REAL = Path(__file__).parents[3] / "shared" / "data"
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def make_view(labels: Sequence[int] | NDArray[np.int64], classes: int | Sequence[str], seed: int = 0) -> View:
    """Return a view of images of one pixel; classes are named 0 to K - 1 unless names are given."""
    names = tuple(map(str, range(classes))) if isinstance(classes, int) else tuple(classes)
    shown = np.asarray(labels, dtype=np.int64)
    return View.of(Source("toy", np.zeros((len(shown), 1, 1, 1), np.uint8), shown, names), seed=seed)


def balanced_view(each: int, classes: int | Sequence[str], seed: int = 0) -> View:
    """Return a view with `each` labels of each class."""
    return make_view(np.repeat(np.arange(classes if isinstance(classes, int) else len(classes)), each), classes, seed)


def view_of_sizes(counts: Sequence[int], seed: int = 0) -> View:
    """Return a view with these numbers of labels per class."""
    return make_view(np.repeat(np.arange(len(counts)), counts), len(counts), seed)


def cifar_view(classes: int = 10, seed: int = 0) -> View:
    """Return a view with the class sizes of CIFAR-10, or of CIFAR-100."""
    return balanced_view(50000 // classes, classes, seed)


def kept_sizes(words: str, counts: Sequence[int], seed: int = 0) -> list[int]:
    """Return the class sizes after a scenario, from these before it."""
    sizes: list[int] = scenarios.parse(words)(view_of_sizes(counts, seed)).counts.tolist()
    return sizes


def count_transitions(before: View, after: View) -> list[list[int]]:
    """Count the labels of class i shown as class j, with a plain loop."""
    assert before.rows.tolist() == after.rows.tolist(), "label noise neither removes nor reorders rows"
    matrix = [[0] * len(before.classes) for _ in before.classes]
    for i, j in zip(before.labels.tolist(), after.labels.tolist(), strict=True):
        matrix[i][j] += 1
    return matrix


def assert_rejected(words: str, shown: View, *parts: str) -> None:
    """Assert that a scenario is rejected with a one-line message that contains all these parts."""
    with pytest.raises(UsageError) as caught:
        scenarios.parse(words)(shown)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message
