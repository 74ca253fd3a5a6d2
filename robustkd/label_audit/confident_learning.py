"""Confident learning: from labels as given and out-of-fold probabilities to the labels that are probably wrong.

    t_j = mean of p_j over the rows given as j            how sure a net is of class j where it is right on the whole
    C[i, j] = rows given as i whose largest p_j >= t_j is j's, scaled so that its rows sum to the counts given
    T[j, i] = C[i, j] / sum_i C[i, j]                     the share of what is truly j that was given as i

The C[i, j] rows given as i that lean most towards j are suspicious, where the net would not give i itself.

Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 2021 (arXiv 1911.00068);
the computing is cleanlab's. Rows that no net could judge are left out on both sides.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LabelArray = NDArray[np.int64]  # (n,)
RowMask = NDArray[np.bool_]  # (n,)


@dataclass(frozen=True)
class LabelIssues:
    """What the probabilities say of the labels given."""

    is_issue: RowMask  # whose label is probably wrong
    suggested: LabelArray  # the most probable of the other classes
    quality: NDArray[
        np.float64
    ]  # (n,) in [0, 1]: 0.5 and above where the given label is the most probable; NaN unjudged
    joint: NDArray[np.float64]  # (K, K) estimated counts: row = true class, column = label given

    @property
    def transition_matrix(self) -> NDArray[np.float64]:
        """T[i, j], the estimated share of true class i that was given as j; a class nobody is of keeps itself: (K, K)."""
        total = self.joint.sum(axis=1, keepdims=True)
        shares: NDArray[np.float64] = np.divide(self.joint, total, out=np.eye(len(self.joint)), where=total > 0)
        return shares

    @property
    def noise_rates(self) -> NDArray[np.float64]:
        """The estimated share of the labels given as each class that is wrong, NaN where none was judged: (K,)."""
        given = self.joint.sum(axis=0)
        wrong = given - np.diag(self.joint)
        shares: NDArray[np.float64] = np.divide(wrong, given, out=np.full(len(given), np.nan), where=given > 0)
        return shares

    @property
    def noise_rate(self) -> float:
        """The estimated share of all labels that is wrong, NaN where none was judged."""
        return float(1 - np.trace(self.joint) / self.joint.sum()) if self.joint.any() else float("nan")

    def rank_rows(self) -> LabelArray:
        """The suspicious rows, the worst first: (m,)."""
        rows = np.flatnonzero(self.is_issue)
        return rows[np.argsort(self.quality[rows], kind="stable")]


def find_label_issues(
    labels: LabelArray, probabilities: NDArray[np.floating], judged: RowMask | None = None
) -> LabelIssues:
    """Find the labels that are probably wrong.

    Args:
        labels: (n,) as given, 0 to K - 1; a class may have none.
        probabilities: (n, K), of nets that were not trained on the row.
        judged: (n,) the rows they can speak of; all where not given. The others are never suspicious.
    """
    from cleanlab.count import compute_confident_joint
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    n, classes = probabilities.shape
    rows = np.arange(n) if judged is None else np.flatnonzero(judged)
    wrong, quality, joint = np.zeros(n, bool), np.full(n, np.nan), np.zeros((classes, classes))
    others = probabilities.copy()
    others[np.arange(n), labels] = -1
    if len(rows):
        given, said = labels[rows], probabilities[rows]
        confident = compute_confident_joint(given, said)
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # that the last of a class stays in it
            wrong[rows] = find_label_issues(given, said, confident_joint=confident, n_jobs=1)
        quality[rows] = get_label_quality_scores(given, said, method="normalized_margin")
        joint = confident.T.astype(np.float64)
    return LabelIssues(wrong, others.argmax(axis=1), quality, joint)


def select_removable(verdict: LabelIssues, labels: LabelArray, keep: int, among: RowMask) -> RowMask:
    """The suspicious rows that may leave their class: the worst first, until it has `keep` rows left, or all it had.

    Args:
        labels: (n,) as given.
        keep: a class's least size.
        among: (n,) the rows it is about: the others stay, and do not count.

    Returns:
        (n,). A class that no row may leave cannot shrink, whatever joins it: this holds for dropping and relabelling.
    """
    counts, rows = np.bincount(labels[among], minlength=len(verdict.joint)), verdict.rank_rows()
    rows = rows[among[rows]]
    rows = rows[np.argsort(labels[rows], kind="stable")]  # class by class, the worst first within each
    of = np.bincount(labels[rows], minlength=len(counts))
    rank = np.arange(len(rows)) - np.repeat(np.cumsum(of) - of, of)
    chosen = np.zeros(len(labels), bool)
    chosen[rows[rank < np.maximum(counts - keep, 0)[labels[rows]]]] = True
    return chosen


@dataclass(frozen=True)
class DetectionScores:
    """How the suspicions stand beside the truth, on the rows where that is known."""

    rows: int
    errors: int  # labels that are wrong
    flagged: int  # rows that are suspicious
    true_positives: int  # of these, wrong

    @property
    def precision(self) -> float | None:
        """The share of the suspicious that is wrong, None where nothing is suspicious."""
        return self.true_positives / self.flagged if self.flagged else None

    @property
    def recall(self) -> float | None:
        """The share of the wrong that is suspicious, None where nothing is wrong."""
        return self.true_positives / self.errors if self.errors else None


def score_detection(wrong: RowMask, labels: LabelArray, truth: LabelArray | None) -> DetectionScores | None:
    """Beside a truth that is -1 where it is not known; None where it is not known at all."""
    if truth is None or not (truth >= 0).any():
        return None
    known, error = truth >= 0, truth != labels
    counts = (known, known & error, known & wrong, known & error & wrong)
    return DetectionScores(*(int(np.count_nonzero(count)) for count in counts))
