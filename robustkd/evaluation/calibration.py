"""Calibration of predicted probabilities: NLL, Brier score, expected calibration error and temperature scaling.

Symbols: n samples, K classes; logits (n, K), labels (n,) in 0 to K - 1. Everything is computed in float64 from
log-probabilities, since a probability rounded to 0 has no logarithm. scipy is imported where it is used, so that reading
results does not load it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustkd.evaluation.results import ReliabilityBin, TemperatureScaling

Labels = NDArray[np.int64]
Logits = NDArray[np.floating[Any]]

BINS = 15  # of equal width over the probability of the predicted class
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0


def log_probabilities(logits: Logits) -> NDArray[np.float64]:
    """Return the log-softmax: (n, K) -> (n, K). The cross entropy of row i on label y is -log_p[i, y]."""
    from scipy.special import log_softmax

    with np.errstate(invalid="ignore"):  # a non-finite logit gives NaN
        log_p: NDArray[np.float64] = log_softmax(logits.astype(np.float64), axis=1)
    return log_p


def negative_log_likelihood(labels: Labels, log_p: NDArray[np.float64]) -> float:
    """Return the mean of -log p(label): (n,), (n, K) -> number in nats."""
    return float(-log_p[np.arange(len(labels)), labels].mean())


def brier_score(labels: Labels, log_p: NDArray[np.float64]) -> float:
    """Return the mean squared distance of p from the label's unit vector, summed over classes: 0 to 2.

    Brier 1950, doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.

    >>> round(brier_score(np.array([0, 1]), np.log([[0.75, 0.25], [0.75, 0.25]])), 6)  # 2 * 0.25**2 and 2 * 0.75**2
    0.625
    """
    distance = np.exp(log_p)
    distance[np.arange(len(labels)), labels] -= 1
    return float(np.einsum("nk,nk->", distance, distance) / len(labels))


def expected_calibration_error(bins: list[ReliabilityBin]) -> float:
    """Return the mean of |accuracy - confidence| over bins, weighted by their counts (Guo et al. 2017, arXiv 1706.04599)."""
    total = sum(b.count for b in bins)
    gaps = [
        b.count * abs(b.accuracy - b.confidence) for b in bins if b.accuracy is not None and b.confidence is not None
    ]
    return float(sum(gaps) / total)


def reliability_bins(labels: Labels, log_p: NDArray[np.float64]) -> list[ReliabilityBin]:
    """Compare confidence with accuracy in 15 bins (low, high] of the predicted class's probability: (n,), (n, K) -> bins.

    Confidence and accuracy of an empty bin are None.
    """
    predicted = log_p.argmax(axis=1)
    confidence = np.exp(log_p)[np.arange(len(labels)), predicted]
    edges = np.linspace(0, 1, BINS + 1)
    place = np.digitize(confidence, edges[1:-1], right=True)
    counts = np.bincount(place, minlength=BINS)
    sums = [np.bincount(place, weights=values, minlength=BINS) for values in (confidence, predicted == labels)]
    means = [[float(s / n) if n else None for s, n in zip(values, counts, strict=True)] for values in sums]
    return [
        ReliabilityBin(low=float(low), high=float(high), count=int(count), confidence=c, accuracy=a)
        for low, high, count, c, a in zip(edges[:-1], edges[1:], counts, *means, strict=True)
    ]


def fit_temperature(labels: Labels, logits: Logits) -> float | None:
    """Return the T between 1/20 and 20 that minimises the NLL of logits / T (Guo et al. 2017), searched over log T.

    The NLL is convex in 1 / T, so there is one minimum. Where all rows are right it is at T = 0, and T ends where the NLL has
    become 0 in float64 or at the lower bound; where they are no better than chance T is the upper bound. None where a logit
    is not finite.
    """
    from scipy.optimize import minimize_scalar

    if not np.isfinite(logits).all():
        return None
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    own = shifted[np.arange(len(labels)), labels].mean()

    def nll(log_t: float) -> float:
        inverse = np.exp(-log_t)
        return float(np.log(np.exp(inverse * shifted).sum(axis=1)).mean() - inverse * own)

    best = minimize_scalar(nll, bounds=(np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE)), method="bounded")
    return float(np.exp(best.x))


def apply_temperature(labels: Labels, logits: Logits, temperature: float | None) -> TemperatureScaling:
    """Compute NLL and ECE of logits / T, which changes no prediction; those of the logits themselves where T is None."""
    scaled = logits if temperature is None else logits.astype(np.float64) / temperature
    if not np.isfinite(scaled).all():
        return TemperatureScaling(temperature=temperature, nll=None, ece=None)
    log_p = log_probabilities(scaled)
    return TemperatureScaling(
        temperature=temperature,
        nll=negative_log_likelihood(labels, log_p),
        ece=expected_calibration_error(reliability_bins(labels, log_p)),
    )
