"""Results as data: the confusion counts of few and of many classes, and those in files of earlier versions."""

import json

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.metrics import confusion_matrix

from robustkd.evaluation.net_metrics import evaluate_predictions
from robustkd.evaluation.results import NetMetrics
from tests.evaluation.predictions import random_predictions


def names(classes: int) -> list[str]:
    return [f"class {number}" for number in range(classes)]


@pytest.mark.parametrize("classes", [2, 7, 100])
def test_the_confusion_matrix_is_that_of_scikit_learn(classes: int) -> None:
    labels, logits = random_predictions(300, classes)
    made = evaluate_predictions(labels, logits, names(classes)).confusion_matrix()
    expected = confusion_matrix(labels, logits.argmax(axis=1), labels=range(classes))
    np.testing.assert_array_equal(made, expected)


def test_the_counts_of_many_classes_are_no_more_than_rows() -> None:
    labels, logits = random_predictions(500, 1000)
    made = evaluate_predictions(labels, logits, names(1000))
    assert sum(len(line) for line in made.confusion.values()) <= 500
    assert sum(sum(line.values()) for line in made.confusion.values()) == 500


def test_matrices_of_earlier_versions_are_read() -> None:
    labels, logits = random_predictions(60, 3)
    made = evaluate_predictions(labels, logits, names(3))
    earlier = {**json.loads(made.model_dump_json()), "confusion": made.confusion_matrix().tolist()}
    assert NetMetrics.model_validate(earlier) == made
    with pytest.raises(ValidationError, match="confusion"):
        NetMetrics.model_validate({**earlier, "confusion": [[1, 2], [3, 4]]})
