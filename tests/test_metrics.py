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


def test_what_became_of_wrong_labels_by_hand() -> None:
    #                     memorised  seen through  neither  clean, fitted  clean, missed  unknown  foreign
    made = metrics.against_truth(
        predicted=np.array([1, 0, 2, 0, 1, 1, 2]),
        labels=np.array([1, 1, 1, 0, 0, 1, 2]),
        truth=np.array([0, 0, 0, 0, 0, -1, -1]),
        foreign=np.array([False] * 6 + [True]),
    )
    assert (made["known"], made["corrupted"], made["foreign"]) == (5, 3, 1)
    assert made["memorised"] == pytest.approx(1 / 3)
    assert made["seen_through"] == pytest.approx(1 / 3)
    assert (made["clean_fit"], made["foreign_fitted"]) == (0.5, 1.0)


def test_a_share_of_no_rows_is_absent_and_not_zero() -> None:
    made = metrics.against_truth(np.array([0]), np.array([0]), np.array([-1]), np.array([False]))
    shares = {name: made[name] for name in ("memorised", "seen_through", "clean_fit", "foreign_fitted")}
    assert set(shares.values()) == {None}
    assert made["known"] == 0
