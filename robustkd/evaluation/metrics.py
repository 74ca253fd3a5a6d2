"""Metrics of predictions: pure functions of arrays. n samples, K classes; logits (n, K), labels (n,) in 0 to K - 1.

The metrics that are one number per network are listed, with their labels and units, in metric_table.py. scikit-learn is
imported where it is used, so that reading results does not load it.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustkd.evaluation import calibration
from robustkd.evaluation.calibration import Labels, Logits
from robustkd.evaluation.results import ReliabilityBin


@dataclass(frozen=True)
class Predictions:
    """Logits for at least one labelled row, and what several metrics need of them, computed once.

    Attributes:
        labels: (n,).
        logits: (n, K).
    """

    labels: Labels
    logits: Logits

    @cached_property
    def predicted(self) -> Labels:
        """The predicted classes: (n,)."""
        classes: Labels = self.logits.argmax(axis=1)
        return classes

    @cached_property
    def by_class(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], Labels]:
        """Precision, recall, F1 and support: (K,) each, NaN where undefined."""
        from sklearn.metrics import precision_recall_fscore_support

        classes = np.arange(self.logits.shape[1])
        scores: tuple[Any, ...] = precision_recall_fscore_support(
            self.labels, self.predicted, labels=classes, zero_division=np.nan
        )
        return scores[0], scores[1], scores[2], scores[3]

    @cached_property
    def recalls(self) -> NDArray[np.float64]:
        """The recalls of the classes that have rows, in ascending order."""
        _, recall, _, support = self.by_class
        return np.sort(recall[support > 0])

    @cached_property
    def log_p(self) -> NDArray[np.float64] | None:
        """Log-probabilities: (n, K); None where a logit is not finite."""
        return calibration.log_probabilities(self.logits) if np.isfinite(self.logits).all() else None

    @cached_property
    def reliability(self) -> list[ReliabilityBin]:
        """Confidence against accuracy in bins; none where a logit is not finite."""
        return [] if self.log_p is None else calibration.reliability_bins(self.labels, self.log_p)


def accuracy(predictions: Predictions) -> float:
    """Return the share of rows whose label is predicted."""
    return float((predictions.predicted == predictions.labels).mean())


def balanced_accuracy(predictions: Predictions) -> float:
    """Return the mean recall over the classes that have rows."""
    return float(predictions.recalls.mean())


def worst_recall(predictions: Predictions) -> float:
    """Return the smallest recall."""
    return float(predictions.recalls[0])


def worst_three(predictions: Predictions) -> float:
    """Return the mean of the three smallest recalls, or of all where there are fewer."""
    return float(predictions.recalls[:3].mean())


def worst_quarter(predictions: Predictions) -> float:
    """Return the mean of the smallest quarter of the recalls, rounded up: comparable between data sets of any class count."""
    return float(predictions.recalls[: -(-len(predictions.recalls) // 4)].mean())


def macro_f1(predictions: Predictions) -> float:
    """Return the mean F1 over the classes that have rows."""
    _, _, f1, support = predictions.by_class
    return float(f1[support > 0].mean())


def nll(predictions: Predictions) -> float | None:
    """Return the negative log-likelihood, None where a logit is not finite."""
    p = predictions
    return None if p.log_p is None else calibration.negative_log_likelihood(p.labels, p.log_p)


def brier(predictions: Predictions) -> float | None:
    """Return the Brier score, None where a logit is not finite."""
    return None if predictions.log_p is None else calibration.brier_score(predictions.labels, predictions.log_p)


def ece(predictions: Predictions) -> float | None:
    """Return the expected calibration error, None where a logit is not finite."""
    return calibration.expected_calibration_error(predictions.reliability) if predictions.reliability else None
