"""Decide whether an estimate of label noise can be believed, or may be the errors of the networks themselves.

Confident learning counts a prediction that contradicts a label as a wrong label, so a weak network produces an estimate even
where all labels are right. Two conditions separate the two; an estimate that fails one of them is an upper bound at best.

    accuracy     the networks predict at least 45 % of the labels out of fold
    support      the surest rows contradict their labels at least 2/3 as often as the estimate says

The surest rows are those with the highest probability among the rows predicted as each class: a tenth of them, in data sets of
fewer than 2,000 rows 200 rows, and never more than a fifth. If wrong labels occur at random within a class, they are as
frequent there as elsewhere, while the networks' own errors are rare there; the same reasoning estimates a transition matrix
from anchor points (Liu and Tao 2016, arXiv 1411.7718; Patrini et al. 2017, arXiv 1609.03683). Where hard images are more often
labelled wrongly, the condition errs on the careful side.

The two bounds were chosen by simulation: 111 audits with known errors of digits, Fashion-MNIST, photographs of clothes and
CIFAR-10 in two and in ten classes, all of reduced size, by networks and simple classifiers of 27 to 99 % accuracy, without
wrong labels, with 5 to 42 % at random, with 19 to 30 % in pairs of classes, and with human errors. 36 estimates are believable;
in 34 of these audits at least half of the suspicious labels were wrong. In the other 75 it was never 70 %, and the share of
wrong labels never exceeded the estimate.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustkd.label_audit.confident_learning import LabelArray

MIN_ACCURACY = 0.45
MIN_SUPPORT = 2 / 3
SURE_ROWS, SURE_SHARES = 200, (0.1, 0.2)


@dataclass(frozen=True)
class Reliability:
    """What an estimate of the share of wrong labels rests on; all values are NaN without rows.

    Attributes:
        accuracy: share of the labels that are predicted.
        sure_disagreement: share of the surest rows whose label is not predicted.
        estimate: the estimated share of wrong labels.
    """

    accuracy: float
    sure_disagreement: float
    estimate: float

    @property
    def is_accurate(self) -> bool:
        """Whether enough labels are predicted."""
        return self.accuracy >= MIN_ACCURACY

    @property
    def is_believable(self) -> bool:
        """Whether the estimate can be believed, and not only as an upper bound."""
        return self.is_accurate and self.sure_disagreement >= MIN_SUPPORT * self.estimate


def assess_reliability(labels: LabelArray, probabilities: NDArray[np.floating], estimate: float) -> Reliability:
    """Assess an estimated share of wrong labels.

    Args:
        labels: (n,) given labels.
        probabilities: (n, K), each row predicted by a model that was not trained on it.
        estimate: The estimated share of wrong labels.
    """
    if not len(labels):
        return Reliability(float("nan"), float("nan"), estimate)
    agrees = probabilities.argmax(axis=1) == labels
    return Reliability(float(agrees.mean()), float(1 - agrees[_surest_rows(probabilities)].mean()), estimate)


def _surest_rows(probabilities: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the surest rows of each predicted class, at least one of each: (m,)."""
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    share = float(np.clip(SURE_ROWS / len(predicted), *SURE_SHARES))
    order = np.lexsort((-confidence, predicted))
    counts = np.bincount(predicted)
    rank = np.arange(len(predicted)) - np.repeat(np.cumsum(counts) - counts, counts)
    limits = np.maximum(1, np.rint(share * counts).astype(np.int64))
    surest: NDArray[np.int64] = order[rank < limits[predicted[order]]]
    return surest
