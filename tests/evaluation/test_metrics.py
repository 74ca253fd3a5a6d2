"""Metrics of predictions as functions: what they share, and the mean of the smallest recalls."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from robustkd.evaluation import metrics
from robustkd.evaluation.metrics import Predictions
from tests.evaluation.predictions import one_hot_logits


def test_the_worst_three_are_the_smallest_recalls() -> None:
    labels = np.repeat(np.arange(5), 10)
    right = np.concatenate([np.arange(10) < k for k in (9, 1, 4, 10, 7)])
    predictions = Predictions(labels, one_hot_logits(np.where(right, labels, (labels + 1) % 5), 5))
    assert metrics.worst_three(predictions) == pytest.approx((0.1 + 0.4 + 0.7) / 3)
    assert metrics.worst_recall(predictions) == pytest.approx(0.1)


@pytest.mark.parametrize(("classes", "worst"), [(2, 1), (4, 1), (5, 2), (8, 2), (10, 3), (100, 25)])
def test_the_worst_quarter_is_the_mean_of_the_smallest_quarter_of_the_recalls(classes: int, worst: int) -> None:
    # Class k has k right rows of `classes`: its recall is k / classes, so the smallest are 0, 1, ..., worst - 1.
    labels = np.repeat(np.arange(classes), classes)
    right = np.tile(np.arange(classes), classes) < labels
    predictions = Predictions(labels, one_hot_logits(np.where(right, labels, (labels + 1) % classes), classes))
    worst_quarter = metrics.worst_quarter(predictions)
    assert worst_quarter == pytest.approx((worst - 1) / 2 / classes)
    assert metrics.worst_recall(predictions) <= worst_quarter <= metrics.balanced_accuracy(predictions)


@given(st.integers(2, 6), st.integers(1, 8), st.data())
def test_balanced_accuracy_is_accuracy_where_classes_have_equal_sizes(
    classes: int, each: int, data: st.DataObject
) -> None:
    labels = np.repeat(np.arange(classes), each)
    predicted = data.draw(arrays.arrays(np.int64, classes * each, elements=st.integers(0, classes - 1)))
    predictions = Predictions(labels, one_hot_logits(predicted, classes))
    assert metrics.balanced_accuracy(predictions) == pytest.approx(metrics.accuracy(predictions))


def test_classes_without_rows_do_not_count_in_means_over_classes() -> None:
    # Class 2 has no rows but is predicted once; class 3 is neither labelled nor predicted.
    predictions = Predictions(np.array([0, 0, 0, 1]), one_hot_logits([0, 0, 2, 1], 4))
    assert predictions.recalls.tolist() == pytest.approx([2 / 3, 1])
    assert metrics.balanced_accuracy(predictions) == pytest.approx(5 / 6)
    assert metrics.macro_f1(predictions) == pytest.approx((0.8 + 1) / 2)


def test_probability_metrics_of_one_row_by_hand() -> None:
    predictions = Predictions(np.array([1]), np.log(np.array([[0.75, 0.25]])))
    assert metrics.nll(predictions) == pytest.approx(-math.log(0.25))
    assert metrics.brier(predictions) == pytest.approx(0.75**2 + 0.75**2)
    assert metrics.ece(predictions) == pytest.approx(0.75), "confidence 0.75, accuracy 0"


def test_probability_metrics_are_undefined_where_a_logit_is_not_finite() -> None:
    predictions = Predictions(np.array([0, 1]), np.array([[2.0, 1.0], [-np.inf, 1.0]]))
    assert predictions.log_p is None
    assert predictions.reliability == []
    assert [metric(predictions) for metric in (metrics.nll, metrics.brier, metrics.ece)] == [None, None, None]
    assert metrics.accuracy(predictions) == 1
