"""Figures of predictions: pure functions of arrays. n samples, K classes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix


def confusion(labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """How often class i was taken for class j: (n,), (n,) -> (K, K)."""
    matrix: NDArray[np.int64] = confusion_matrix(labels, predicted, labels=np.arange(classes))
    return matrix


def recalls(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """The share of each class that was recognised, NaN for a class without samples: (K, K) -> (K,).

    >>> recalls(np.array([[3, 1], [0, 0]]))
    array([0.75,  nan])
    """
    support = matrix.sum(axis=1)
    share: NDArray[np.float64] = np.divide(
        np.diag(matrix), support, out=np.full(len(matrix), np.nan), where=support > 0
    )
    return share


def summary(labels: NDArray[np.int64], predicted: NDArray[np.int64], names: tuple[str, ...]) -> dict[str, Any]:
    """What a test set says of a net: overall, and per class by name.

    A class without samples has no recall: None. Balanced accuracy is the mean of the recalls there are, the worst recall the
    least of them.
    """
    matrix = confusion(labels, predicted, len(names))
    recall = recalls(matrix)
    return {
        "accuracy": float(np.diag(matrix).sum() / max(1, matrix.sum())),
        "balanced_accuracy": float(np.nanmean(recall)),
        "worst_recall": float(np.nanmin(recall)),
        "recall": {name: None if np.isnan(r) else float(r) for name, r in zip(names, recall, strict=True)},
        "support": {name: int(value) for name, value in zip(names, matrix.sum(axis=1), strict=True)},
        "confusion": matrix.tolist(),
    }


def against_truth(
    predicted: NDArray[np.int64], labels: NDArray[np.int64], truth: NDArray[np.int64], foreign: NDArray[np.bool_]
) -> dict[str, float | int | None]:
    """What a net made of the rows it was trained on: (n,) each.

    Args:
        predicted: the net's classes, for images as they are.
        labels: the labels it was shown.
        truth: the true labels, -1 where unknown.
        foreign: which images are of no class at all.

    Returns:
        known: rows whose truth is known.
        corrupted: of these, rows under a wrong label.
        memorised: the share of corrupted rows predicted as the wrong label shown.
        seen_through: the share of corrupted rows predicted as what they truly are.
        clean_fit: the share of the other known rows predicted as labelled.
        foreign: rows of foreign images; foreign_fitted: the share of them predicted as labelled.

    A share of no rows is None.
    """
    known = (truth >= 0) & ~foreign
    corrupted, clean = known & (labels != truth), known & (labels == truth)

    def share(right: NDArray[np.bool_], among: NDArray[np.bool_]) -> float | None:
        return float(right[among].mean()) if among.any() else None

    return {
        "known": int(known.sum()),
        "corrupted": int(corrupted.sum()),
        "memorised": share(predicted == labels, corrupted),
        "seen_through": share(predicted == truth, corrupted),
        "clean_fit": share(predicted == labels, clean),
        "foreign": int(foreign.sum()),
        "foreign_fitted": share(predicted == labels, foreign),
    }
