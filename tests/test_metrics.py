"""Figures of predictions, by hand."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from robustkd import metrics


def test_a_small_case_by_hand() -> None:
    # a: 2 of 3 right, b: 1 of 1, c: none there.
    made = metrics.summary(np.array([0, 0, 0, 1]), np.array([0, 0, 2, 1]), ("a", "b", "c"))
    assert made["accuracy"] == 0.75
    assert made["recall"]["a"] == pytest.approx(2 / 3)
    assert made["recall"]["c"] is None
    assert made["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert made["worst_recall"] == pytest.approx(2 / 3)
    assert made["confusion"] == [[2, 0, 1], [0, 1, 0], [0, 0, 0]]
    assert made["support"] == {"a": 3, "b": 1, "c": 0}


def test_overall_figures_are_scikit_learns() -> None:
    random = np.random.default_rng(0)
    labels, predicted = random.integers(0, 6, (2, 500))
    made = metrics.summary(labels, predicted, tuple("abcdef"))
    assert made["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    assert made["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, predicted))
