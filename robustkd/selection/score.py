"""The score of a race: balanced accuracy on held-out rows, by labels as noisy as those of training, and how certain it is.

A network that did not see the held-out rows cannot have memorised their labels. Where a label is wrong independently of the
image, with probability r and uniformly over the K - 1 other classes, a network of accuracy A is right by it with probability

    A (1 - r) + (1 - A) r / (K - 1),

which increases with A as long as r < (K - 1) / K: the order of networks is that of their accuracy (Chen et al. 2021,
Robustness of accuracy metric and its inspirations in learning with noisy labels, arXiv:2012.04193). The slope is smaller, so
that differences are harder to see, but a row with a wrong label adds little to the noise of a paired difference, because most
networks are wrong by it alike. Scores that correct labels by the agreement of networks do not rank clearly better
(measured in benchmarks/selection.py). Classes count alike, because verdicts are by balanced accuracy.

In shapes, m is the number of contenders, n of seeds, N of held-out rows.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]


class Standings(NamedTuple):
    """What a rung shows of each contender: (m,) each.

    Attributes:
        score: balanced accuracy on held-out rows, mean over seeds.
        behind: how far it is behind the leader.
        noise: the standard error of that, over seeds and held-out rows; 0 of the leader.
    """

    score: Float64Array
    behind: Float64Array
    noise: Float64Array


def weighted_correctness(predicted: NDArray[np.integer], labels: NDArray[np.integer]) -> Float64Array:
    """Return what each row contributes to balanced accuracy, so that the mean over rows is the score.

    Args:
        predicted: classes after each of the last epochs (e, N), over which correctness is averaged.
        labels: as given (N,).

    >>> weighted_correctness(np.array([[0, 0, 1]]), np.array([0, 0, 1])).tolist()
    [0.75, 0.75, 1.5]
    """
    from sklearn.utils.class_weight import compute_sample_weight

    correct: Float64Array = (np.asarray(predicted) == labels).mean(axis=0) * compute_sample_weight("balanced", labels)
    return correct


def compare_scores(correct: Sequence[Float64Array]) -> Standings:
    """Compare contenders with the one that leads, on the same seeds and held-out rows.

    The variance of a difference over n seeds and N rows is estimated as for verdicts (`robustkd.evaluation.crossed`), but with
    the variance over seeds pooled over all contenders, because there are few seeds. With one seed it is that over rows.

    Args:
        correct: weighted correctness (m, N) for each seed; seeds hold out as many rows, or some more than others, as where the
            scenario draws the sizes of classes.
    """
    scores = np.stack([rows.mean(axis=1) for rows in correct], axis=1)  # (m, n)
    score: Float64Array = scores.mean(axis=1)
    leader = int(score.argmax())
    image, within = _row_variances([rows[leader] - rows for rows in correct])
    pooled = _interaction_variance(scores) * 2 / len(correct)
    noise = np.sqrt(np.maximum(pooled, within) + np.maximum(image - within, 0))
    noise[leader] = 0
    return Standings(score, score[leader] - score, noise)


def _row_variances(differences: Sequence[Float64Array]) -> tuple[Float64Array, Float64Array]:
    """Return the variances over rows and of what rows and seeds do not explain: n arrays (m, N) -> (m,) each.

    Where seeds have different numbers of rows, these are others in each, and all of their variance is within seeds.
    """
    n, sizes = len(differences), {each.shape[1] for each in differences}
    of_seeds = np.mean([each.var(axis=1, ddof=1) / each.shape[1] for each in differences], axis=0)
    if n == 1:
        return of_seeds, np.zeros_like(of_seeds)
    if len(sizes) > 1:
        return of_seeds / n, of_seeds / n
    stacked, rows = np.stack(differences, axis=1), sizes.pop()  # (m, n, N)
    of_rows, by_seed = stacked.mean(axis=1), stacked.mean(axis=2)
    residual = stacked - of_rows[:, None] - by_seed[..., None] + by_seed.mean(axis=1)[:, None, None]
    within = (residual**2).sum(axis=(1, 2)) / ((n - 1) * (rows - 1)) / (n * rows)
    return of_rows.var(axis=1, ddof=1) / rows, within


def _interaction_variance(scores: Float64Array) -> float:
    """Return the variance of what contender and seed do not explain, of scores (m, n): a two-way analysis of variance."""
    m, n = scores.shape
    if min(m, n) == 1:
        return 0.0
    residual = scores - scores.mean(axis=0) - scores.mean(axis=1, keepdims=True) + scores.mean()
    return float((residual**2).sum() / ((m - 1) * (n - 1)))
