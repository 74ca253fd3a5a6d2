"""Evaluation of a network's predictions: on labelled rows, on its training rows, and against another network.

Symbols: n samples, K classes; logits (n, K), labels (n,) in 0 to K - 1.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustkd.evaluation.calibration import Labels, Logits
from robustkd.evaluation.metric_table import METRICS
from robustkd.evaluation.metrics import Predictions
from robustkd.evaluation.results import ByClass, FitMetrics, NetMetrics


def confusion_counts(labels: Labels, predicted: Labels, names: Sequence[str]) -> dict[str, dict[str, int]]:
    """Count how often a class was predicted as another, or as itself, for the pairs that occur: (n,), (n,).

    >>> confusion_counts(np.array([0, 0, 2]), np.array([0, 1, 2]), ["cat", "dog", "cow"])
    {'cat': {'cat': 1, 'dog': 1}, 'cow': {'cow': 1}}
    """
    counts: dict[str, dict[str, int]] = {}
    pairs, sizes = np.unique(labels * len(names) + predicted, return_counts=True)
    for pair, size in zip(pairs.tolist(), sizes.tolist(), strict=True):
        label, prediction = divmod(pair, len(names))
        counts.setdefault(names[label], {})[names[prediction]] = size
    return counts


def evaluate_predictions(
    labels: Labels, logits: Logits, names: Sequence[str], groups: Sequence[NDArray[np.str_]] = ()
) -> NetMetrics:
    """Evaluate logits on at least one labelled row.

    Args:
        labels: (n,).
        logits: (n, K).
        names: of the K classes, in label order.
        groups: groupings of the classes, each the name of every class's group: (K,).
    """
    p = Predictions(labels, logits)
    precision, recall, f1, support = p.by_class
    present = support > 0

    def by_class(values: NDArray[np.float64]) -> ByClass:
        return {name: None if np.isnan(value) else float(value) for name, value in zip(names, values, strict=True)}

    return NetMetrics(
        rows=len(labels),
        metrics={name: metric.compute(p) for name, metric in METRICS.items() if metric.compute is not None},
        recall=by_class(recall),
        precision=by_class(precision),
        f1=by_class(f1),
        support={name: int(value) for name, value in zip(names, support, strict=True)},
        confusion=confusion_counts(labels, p.predicted, names),
        reliability=p.reliability,
        groups={
            name: mean_or_none(recall[present & (by == name)]) for by in groups for name in dict.fromkeys(by.tolist())
        },
    )


def mean_or_none(values: NDArray[Any]) -> float | None:
    """Return the mean, None of an empty array."""
    return float(values.mean()) if len(values) else None


def evaluate_fit(
    predicted: Labels, labels: Labels, truth: Labels, foreign: NDArray[np.bool_], loss: NDArray[np.float64]
) -> FitMetrics:
    """Evaluate a network on the rows it was trained on: (n,) each.

    Args:
        predicted: the network's classes, for images without augmentation.
        labels: the labels it was trained on.
        truth: the true labels, -1 where unknown.
        foreign: whether an image belongs to no class at all.
        loss: the cross entropy on the labels it was trained on.

    Returns:
        The counts, and as metrics:
        memorised: the share of corrupted rows predicted as their wrong label.
        recovered: the share of corrupted rows predicted as their true class.
        clean_fit: the share of other known rows predicted as labelled.
        foreign_fitted: the share of foreign rows predicted as labelled.
        loss_auroc: the probability that a corrupted row has a greater loss than a clean one, ties counted half: 0.5 where the
            loss does not separate them; None where either kind is missing or a loss is not finite.
    """
    from sklearn.metrics import roc_auc_score

    known = (truth >= 0) & ~foreign
    corrupted, clean = known & (labels != truth), known & (labels == truth)
    separable = corrupted.any() and clean.any() and np.isfinite(loss[known]).all()
    return FitMetrics(
        known=int(known.sum()),
        corrupted=int(corrupted.sum()),
        foreign=int(foreign.sum()),
        metrics={
            "memorised": mean_or_none((predicted == labels)[corrupted]),
            "recovered": mean_or_none((predicted == truth)[corrupted]),
            "clean_fit": mean_or_none((predicted == labels)[clean]),
            "foreign_fitted": mean_or_none((predicted == labels)[foreign]),
            "loss_auroc": float(roc_auc_score(corrupted[known], loss[known])) if separable else None,
        },
    )


def agreement(one: Labels, other: Labels) -> float | None:
    """Return the share of rows for which two networks predict the same class: (n,), (n,); None of no rows."""
    return mean_or_none(one == other)
