"""Confident learning: find labels that are probably wrong from the given labels and out-of-fold probabilities.

    t_j = mean of p_j over the rows labelled j            the model's average confidence in class j
    C[i, j] = number of rows labelled i whose largest p_k >= t_k is that of k = j, rows scaled to sum to the label counts
    T[j, i] = C[i, j] / sum_i C[i, j]                     the fraction of true class j that is labelled i

Of the rows labelled i, the C[i, j] with the largest margin in favour of j are label issues, unless the model predicts i.

Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 2021 (arXiv 1911.00068);
computed by cleanlab. Rows without a usable prediction are excluded from both the estimate and the issues.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LabelArray = NDArray[np.int64]  # (n,)
RowMask = NDArray[np.bool_]  # (n,)


@dataclass(frozen=True)
class LabelIssues:
    """Estimated label issues and label noise of a data set."""

    is_issue: RowMask  # rows whose label is probably wrong
    suggested: LabelArray  # the most probable class other than the label
    quality: NDArray[
        np.float64
    ]  # (n,) in [0, 1], at least 0.5 where the label is the most probable; NaN if not assessed
    joint: NDArray[np.float64]  # (K, K) estimated counts: row = true class, column = given label

    @property
    def transition_matrix(self) -> NDArray[np.float64]:
        """T[i, j], the estimated fraction of true class i labelled j; an empty class has the identity's row: (K, K)."""
        totals = self.joint.sum(axis=1, keepdims=True)
        matrix: NDArray[np.float64] = np.divide(self.joint, totals, out=np.eye(len(self.joint)), where=totals > 0)
        return matrix

    @property
    def noise_rates(self) -> NDArray[np.float64]:
        """The estimated fraction of wrong labels per given class, NaN without assessed labels: (K,)."""
        totals = self.joint.sum(axis=0)
        wrong = totals - np.diag(self.joint)
        rates: NDArray[np.float64] = np.divide(wrong, totals, out=np.full(len(totals), np.nan), where=totals > 0)
        return rates

    @property
    def noise_rate(self) -> float:
        """The estimated fraction of wrong labels, NaN without assessed labels."""
        return float(1 - np.trace(self.joint) / self.joint.sum()) if self.joint.any() else float("nan")

    def rank_rows(self) -> LabelArray:
        """Return the rows with label issues, lowest quality first: (m,)."""
        rows = np.flatnonzero(self.is_issue)
        return rows[np.argsort(self.quality[rows], kind="stable")]


def find_label_issues(
    labels: LabelArray, probabilities: NDArray[np.floating], assessable: RowMask | None = None
) -> LabelIssues:
    """Find the labels that are probably wrong.

    Args:
        labels: (n,) given labels, 0 to K - 1; classes may be empty.
        probabilities: (n, K), each row predicted by a model that was not trained on it.
        assessable: (n,) rows with usable predictions, by default all. Other rows are never label issues.
    """
    from cleanlab import filter as cleanlab_filter
    from cleanlab.count import compute_confident_joint
    from cleanlab.rank import get_label_quality_scores

    n, classes = probabilities.shape
    rows = np.arange(n) if assessable is None else np.flatnonzero(assessable)
    is_issue, quality, joint = np.zeros(n, bool), np.full(n, np.nan), np.zeros((classes, classes))
    other_classes = probabilities.copy()
    other_classes[np.arange(n), labels] = -1
    if len(rows):
        given, predicted = labels[rows], probabilities[rows]
        confident = compute_confident_joint(given, predicted)
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # that a class keeps its last sample
            is_issue[rows] = cleanlab_filter.find_label_issues(given, predicted, confident_joint=confident, n_jobs=1)
        quality[rows] = get_label_quality_scores(given, predicted, method="normalized_margin")
        joint = confident.T.astype(np.float64)
    return LabelIssues(is_issue, other_classes.argmax(axis=1), quality, joint)


def select_removable(issues: LabelIssues, labels: LabelArray, keep: int, within: RowMask) -> RowMask:
    """Select the label issues that may leave their class, worst first, such that each class keeps at least `keep` rows.

    A class with `keep` rows or fewer keeps all of them. The bound holds for both dropping and relabelling, because rows that
    join a class only increase its size.

    Args:
        issues: The estimated label issues.
        labels: (n,) given labels.
        keep: The smallest class size.
        within: (n,) the rows to consider. Other rows stay and are not counted.

    Returns:
        (n,) the selected rows.
    """
    counts, rows = np.bincount(labels[within], minlength=len(issues.joint)), issues.rank_rows()
    rows = rows[within[rows]]
    rows = rows[np.argsort(labels[rows], kind="stable")]  # class by class, the worst first within each
    issue_counts = np.bincount(labels[rows], minlength=len(counts))
    rank = np.arange(len(rows)) - np.repeat(np.cumsum(issue_counts) - issue_counts, issue_counts)
    selected = np.zeros(len(labels), bool)
    selected[rows[rank < np.maximum(counts - keep, 0)[labels[rows]]]] = True
    return selected


@dataclass(frozen=True)
class DetectionScores:
    """Label issues compared with the true labels, on the rows where these are known."""

    rows: int
    errors: int  # wrong labels
    flagged: int  # label issues
    true_positives: int  # label issues that are wrong labels

    @property
    def precision(self) -> float | None:
        """The fraction of label issues that are wrong labels, None without issues."""
        return self.true_positives / self.flagged if self.flagged else None

    @property
    def recall(self) -> float | None:
        """The fraction of wrong labels that are label issues, None without wrong labels."""
        return self.true_positives / self.errors if self.errors else None


def score_detection(is_issue: RowMask, labels: LabelArray, truth: LabelArray | None) -> DetectionScores | None:
    """Compare label issues with the true labels, -1 where unknown; return None if all are unknown."""
    if truth is None or not (truth >= 0).any():
        return None
    known, error = truth >= 0, truth != labels
    masks = (known, known & error, known & is_issue, known & error & is_issue)
    return DetectionScores(*(int(np.count_nonzero(mask)) for mask in masks))
