"""Results of a method pooled over its seeds: recall, confusion, reliability."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.report.formatting import format_points, format_value, typeset
from robustkd.evaluation.results import ReliabilityBin
from robustkd.study.comparison import Comparison
from robustkd.study.results import TEACHER, RunResult


def method_results(comparison: Comparison, method: str) -> list[RunResult]:
    """Return a method's results, one per seed."""
    return [r for r in comparison.results if r.run.role != TEACHER and r.run.method == method]


def mean_recall(comparison: Comparison, method: str) -> "pd.Series[float]":
    """Return a method's recall by class, mean over its seeds."""
    return pd.DataFrame([r.last.recall for r in method_results(comparison, method)]).astype(float).mean()


def pool_confusion(comparison: Comparison, method: str) -> NDArray[np.int64] | None:
    """Return a method's confusion matrix over all seeds: (K, K) counts; None without a run."""
    matrices = [r.last.confusion_matrix() for r in method_results(comparison, method)]
    return np.sum(matrices, axis=0) if matrices else None


def row_shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return counts as shares of their row, NaN where it is empty: (R, C)."""
    total = counts.sum(axis=1, keepdims=True)
    shares: NDArray[np.float64] = np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)
    return shares


def pool_bins(runs: Iterable[Sequence[ReliabilityBin]]) -> list[ReliabilityBin]:
    """Pool reliability over several runs: counts summed, means weighted by them; empty where no run has any.

    >>> one = ReliabilityBin(low=0.0, high=1.0, count=1, confidence=0.5, accuracy=1.0)
    >>> pool_bins([[one], [one.model_copy(update={"count": 3, "accuracy": 0.0})], []])[0].accuracy
    0.25
    """
    pooled = []
    for same in zip(*(run for run in runs if run), strict=False):
        count = sum(each.count for each in same)
        means = {
            name: sum(each.count * getattr(each, name) for each in same if each.count) / count if count else None
            for name in ("confidence", "accuracy")
        }
        pooled.append(ReliabilityBin(low=same[0].low, high=same[0].high, count=count, **means))
    return pooled


def describe_largest_errors(
    shares: NDArray[np.float64], names: Sequence[str], signed: bool = False, limit: int = 3
) -> str:
    """Describe the largest entries off the diagonal of a confusion matrix, "none" where there are none.

    Args:
        signed: the entries are differences.
    """
    errors = np.nan_to_num(np.where(np.eye(len(names), dtype=bool), 0, shares))
    largest = np.argsort(-np.abs(errors), axis=None, kind="stable")[:limit]
    parts = []
    for i, j in (divmod(int(place), len(names)) for place in largest):
        if entry := float(errors[i, j]):
            size = typeset(format_points(entry)) if signed else f"{format_value(entry)} %"
            parts.append(f"{names[i]} as {names[j]} {size}")
    return ", ".join(parts) or "none"
