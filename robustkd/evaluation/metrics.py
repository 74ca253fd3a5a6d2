"""Figures of answers: pure functions of arrays. n samples, K classes; logits (n, K), labels (n,) in 0 to K - 1.

What is computed from logits is computed in float64 from log-probabilities: a probability that was rounded to 0 has no
logarithm. scikit-learn and scipy are imported where they work, so that reading results costs neither.
"""

import base64
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Logits = NDArray[np.floating[Any]]

BINS = 15  # of equal width over the probability of the class that is predicted
COLDEST, HOTTEST = 0.05, 20.0  # what a fitted temperature lies between


def confusion(labels: Labels, predicted: Labels, classes: int) -> NDArray[np.int64]:
    """How often class i was taken for class j: (n,), (n,) -> (K, K)."""
    from sklearn.metrics import confusion_matrix

    matrix: NDArray[np.int64] = confusion_matrix(labels, predicted, labels=np.arange(classes))
    return matrix


def summary(
    labels: Labels, logits: Logits, names: Sequence[str], groups: Sequence[NDArray[np.str_]] = ()
) -> dict[str, Any]:
    """What a test set of at least one row says of a net: overall, per class by name, and per group of classes.

    Args:
        names: of the K classes, in label order.
        groups: sorts of the classes into groups, each the name of every class's group: (K,).

    Returns:
        accuracy, and over the classes with samples: balanced_accuracy (mean recall), worst_recall, worst_three (mean of the
        three least recalls, of all where there are fewer), macro_f1.
        nll, brier, ece, reliability: see `calibration`.
        recall, precision, f1, support: by class name, as scikit-learn has them. A class without samples has no recall, one
            that is never predicted no precision, one of which both is true no F1: None. One that is only predicted, or only
            there, has an F1 of 0.
        confusion: (K, K), rows by label.
        reliability: the bins behind ece.
        groups: mean recall by group name; None where no class of the group has samples.
    """
    from sklearn.metrics import precision_recall_fscore_support

    predicted = logits.argmax(axis=1)
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=np.arange(len(names)), zero_division=np.nan
    )
    there = support > 0
    least = np.sort(recall[there])
    proper = calibration(labels, logits)

    def by_class(values: NDArray[np.float64]) -> dict[str, float | None]:
        return {name: None if np.isnan(value) else float(value) for name, value in zip(names, values, strict=True)}

    return {
        "accuracy": float((predicted == labels).mean()),
        "balanced_accuracy": float(least.mean()),
        "worst_recall": float(least[0]),
        "worst_three": float(least[:3].mean()),
        "macro_f1": float(f1[there].mean()),
        **{name: proper[name] for name in ("nll", "brier", "ece")},
        "recall": by_class(recall),
        "precision": by_class(precision),
        "f1": by_class(f1),
        "support": {name: int(value) for name, value in zip(names, support, strict=True)},
        "confusion": confusion(labels, predicted, len(names)).tolist(),
        "reliability": proper["reliability"],
        "groups": {name: _mean(recall[there & (by == name)]) for by in groups for name in dict.fromkeys(by.tolist())},
    }


def _mean(values: NDArray[Any]) -> float | None:
    return float(values.mean()) if len(values) else None


def log_probabilities(logits: Logits) -> NDArray[np.float64]:
    """The logarithm of the softmax: (n, K) -> (n, K). The cross entropy of row i on label y is -logs[i, y]."""
    from scipy.special import log_softmax

    with np.errstate(invalid="ignore"):  # of a logit that is not finite comes NaN
        logs: NDArray[np.float64] = log_softmax(logits.astype(np.float64), axis=1)
    return logs


def calibration(labels: Labels, logits: Logits) -> dict[str, Any]:
    """How far a net's probabilities p can be believed.

    Returns:
        nll: the mean of -log p(label).
        brier: the mean of the squared distance of p from the label's unit vector, summed over classes: 0 to 2
            (Brier 1950, doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2).
        ece: the expected calibration error over 15 bins of equal width, (low, high], of the probability of the class that is
            predicted: the mean of |accuracy - confidence| over bins, weighted by their counts (Guo et al. 2017,
            arXiv:1706.04599).
        reliability: those bins, each low, high, count, confidence and accuracy; the last two None where a bin is empty.

    Where a logit is not finite there are no probabilities: None, and no bins.

    >>> found = calibration(np.array([0, 1]), np.log([[0.75, 0.25], [0.75, 0.25]]))
    >>> found["brier"], round(found["ece"], 6)  # 2 * 0.25**2 and 2 * 0.75**2; one of two right at a confidence of 0.75
    (0.625, 0.25)
    """
    if not np.isfinite(logits).all():
        return {"nll": None, "brier": None, "ece": None, "reliability": []}
    rows, logs = np.arange(len(labels)), log_probabilities(logits)
    distance = np.exp(logs)
    predicted = logits.argmax(axis=1)
    bins = reliability(distance[rows, predicted], predicted == labels)
    distance[rows, labels] -= 1
    gaps = [b["count"] * abs(b["accuracy"] - b["confidence"]) for b in bins if b["count"]]
    return {
        "nll": float(-logs[rows, labels].mean()),
        "brier": float(np.einsum("nk,nk->", distance, distance) / len(labels)),
        "ece": float(sum(gaps) / len(labels)),
        "reliability": bins,
    }


def reliability(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Confidence against accuracy, bin by bin: (n,), (n,) -> 15 bins."""
    edges = np.linspace(0, 1, BINS + 1)
    place = np.digitize(confidence, edges[1:-1], right=True)
    counts = np.bincount(place, minlength=BINS)
    sums = [np.bincount(place, weights=of, minlength=BINS) for of in (confidence, right)]
    sure, accurate = ([float(s / n) if n else None for s, n in zip(of, counts, strict=True)] for of in sums)
    return [
        {"low": float(low), "high": float(high), "count": int(count), "confidence": c, "accuracy": a}
        for low, high, count, c, a in zip(edges[:-1], edges[1:], counts, sure, accurate, strict=True)
    ]


def temperature(labels: Labels, logits: Logits) -> float | None:
    """The T for which logits / T have the least NLL, sought over log T between T = 1/20 and T = 20 (Guo et al. 2017).

    The NLL is convex in 1 / T, so there is one minimum. Where all rows are right it lies at T = 0, and T stops where the NLL
    has become 0 in float64 or at the lower bound; where they are no better than chance it lies at infinity, and T is the
    upper bound. None where a logit is not finite.
    """
    from scipy.optimize import minimize_scalar

    if not np.isfinite(logits).all():
        return None
    below = logits.astype(np.float64)
    below -= below.max(axis=1, keepdims=True)
    own = below[np.arange(len(labels)), labels].mean()

    def nll(log: float) -> float:
        sharp = np.exp(-log)
        return float(np.log(np.exp(sharp * below).sum(axis=1)).mean() - sharp * own)

    best = minimize_scalar(nll, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    return float(np.exp(best.x))


def scaled(labels: Labels, logits: Logits, by: float | None) -> dict[str, float | None]:
    """NLL and ECE of logits / T, and T: what one temperature leaves of miscalibration. It changes no prediction."""
    found = calibration(labels, logits if by is None else logits.astype(np.float64) / by)
    return {"temperature": by, "nll": found["nll"], "ece": found["ece"]}


def against_truth(
    predicted: Labels, labels: Labels, truth: Labels, foreign: NDArray[np.bool_], loss: NDArray[np.float64]
) -> dict[str, float | int | None]:
    """What a net made of the rows it was trained on: (n,) each.

    Args:
        predicted: the net's classes, for images as they are.
        labels: the labels it was shown.
        truth: the true labels, -1 where unknown.
        foreign: which images are of no class at all.
        loss: the cross entropy on the labels shown.

    Returns:
        known: rows whose truth is known.
        corrupted: of these, rows under a wrong label.
        memorised: the share of corrupted rows predicted as the wrong label shown.
        recovered: the share of corrupted rows predicted as what they truly are.
        clean_fit: the share of the other known rows predicted as labelled.
        foreign: rows of foreign images; foreign_fitted: the share of them predicted as labelled.
        loss_auroc: the chance that a corrupted row has a greater loss than a clean one, ties counted half: 0.5 where the
            loss does not tell them apart.

    A share of no rows is None; so is loss_auroc where corrupted or clean rows are missing, or a loss is not finite.
    """
    from sklearn.metrics import roc_auc_score

    known = (truth >= 0) & ~foreign
    wrong, clean = known & (labels != truth), known & (labels == truth)
    told = wrong.any() and clean.any() and np.isfinite(loss[known]).all()
    return {
        "known": int(known.sum()),
        "corrupted": int(wrong.sum()),
        "memorised": _mean((predicted == labels)[wrong]),
        "recovered": _mean((predicted == truth)[wrong]),
        "clean_fit": _mean((predicted == labels)[clean]),
        "foreign": int(foreign.sum()),
        "foreign_fitted": _mean((predicted == labels)[foreign]),
        "loss_auroc": float(roc_auc_score(wrong[known], loss[known])) if told else None,
    }


def agreement(one: Labels, other: Labels) -> float | None:
    """The share of rows of which two nets say the same class: (n,), (n,); None of no rows."""
    return _mean(one == other)


def packed(predicted: Labels) -> str:
    """Classes as a text that JSON can hold, about half a byte each where there are ten: (n,) in 0 to 65535.

    >>> unpacked(packed(np.array([3, 0, 3]))).tolist()
    [3, 0, 3]
    """
    return base64.b64encode(zlib.compress(predicted.astype("<u2").tobytes(), 9)).decode("ascii")


def unpacked(text: str) -> Labels:
    """What was packed: (n,)."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), "<u2").astype(np.int64)


def agreements(student: Mapping[str, Any], teacher: Mapping[str, Any]) -> dict[str, float | None] | None:
    """The agreement of two runs on the test rows and on the corrupted training rows, from their results' packed answers.

    For runs of one seed, which were shown the same. None where they were not measured alike.
    """
    if "answers" not in student or student.get("measured") != teacher.get("measured"):
        return None
    pairs = [[unpacked(result["answers"][what]) for result in (student, teacher)] for what in student["answers"]]
    if any(len(one) != len(other) for one, other in pairs):
        return None
    return {what: agreement(*pair) for what, pair in zip(student["answers"], pairs, strict=True)}


def add_teacher_agreement(results: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The results of a study's runs, each student's with the agreement with its seed's teacher, where it can be told.

    >>> runs = [
    ...     {"cell": {"role": role, "seed": 0}, "measured": "now", "answers": {"test": packed(np.array(said))}}
    ...     for role, said in (("student", [0, 1]), ("teacher", [0, 0]))
    ... ]
    >>> [run.get("agreement") for run in add_teacher_agreement(runs)]
    [{'test': 0.5}, None]
    """
    runs = [dict(result) for result in results]
    teachers = {run["cell"]["seed"]: run for run in runs if run["cell"]["role"] == "teacher"}
    for run in runs:
        teacher = teachers.get(run["cell"]["seed"])
        if run["cell"]["role"] == "student" and "agreement" not in run and teacher is not None:
            found = agreements(run, teacher)
            run |= {} if found is None else {"agreement": found}
    return runs
