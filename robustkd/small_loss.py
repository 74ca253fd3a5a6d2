"""Small-loss selection: networks fit correct labels first, so the samples with the smallest losses are probably correct.

A mixture of two normal distributions, fitted to the latest losses of all training rows, gives the probability that a row
belongs to the component of small losses, as in Li, Socher and Hoi, "DivideMix", ICLR 2020, arXiv 2002.07394. The weight of the
other component is an estimate of the noise rate. It is estimated once, from networks that were trained on all samples so far:
networks trained on the small losses only make the other losses larger, and an estimate that is repeated grows.
"""

import math
import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustkd.types import Clock

MIN_VARIANCE = 5e-4  # of losses scaled to [0, 1], as in the code of DivideMix
ITERATIONS = 100  # of expectation maximisation, at most


def small_loss_probability(losses: Tensor) -> Tensor:
    """Return the probability of each loss to belong to the smaller of two normal distributions fitted to all: (N,) -> (N,).

    Losses that are all equal have probability 1: there is no reason to doubt these rows. Those that are not finite have it too,
    and are not part of the fit.

    >>> small_loss_probability(torch.tensor([0.1, 0.2, 0.1, 5.0, 5.1])).round().tolist()
    [1.0, 1.0, 1.0, 0.0, 0.0]
    """
    values = losses.double().cpu().numpy()  # once per epoch
    known, probabilities = np.isfinite(values), np.ones(len(values))
    if known.any():
        probabilities[known] = _fit_mixture(values[known])
    return torch.from_numpy(probabilities).float().to(losses.device)


def _fit_mixture(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability of each loss to belong to the smaller component: (N,) finite -> (N,)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    spread = np.ptp(losses)
    if spread == 0:
        return np.ones(len(losses))
    x = ((losses - losses.min()) / spread)[:, None]
    means = np.quantile(x, [[0.25], [0.75]])
    precisions = np.full((2, 1, 1), 1 / max(x.var(), MIN_VARIANCE))
    mixture = GaussianMixture(
        n_components=2,
        reg_covar=MIN_VARIANCE,
        tol=1e-9,
        max_iter=ITERATIONS,
        weights_init=[0.5, 0.5],
        means_init=means,
        precisions_init=precisions,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # what is left to gain then is below any use
        mixture.fit(x)
    smaller = mixture.means_[:, 0].argmin()
    # A normal distribution with a large variance also claims losses far below the mean of the small ones.
    return np.where(x[:, 0] > mixture.means_[smaller, 0], mixture.predict_proba(x)[:, smaller], 1.0)


def share_to_keep(rate: float, clock: Clock, warmup: float, ramp: float) -> float:
    """Return the share of samples to keep: all during the warm-up, then fewer, linearly, until 1 - rate of them.

    Args:
        rate: the noise rate.
        warmup, ramp: lengths, as shares of the epochs.

    >>> [round(share_to_keep(0.4, Clock(epoch, 10), 0.2, 0.2), 2) for epoch in range(5)]
    [1.0, 1.0, 1.0, 0.8, 0.6]
    """
    elapsed = clock.epoch - math.ceil(warmup * clock.epochs)
    length = ramp * clock.epochs
    return 1 - rate * min(max(elapsed, 0) / length if length else float(elapsed >= 0), 1.0)


def select_small(losses: Tensor, share: float) -> Tensor:
    """Return the rows with the smallest losses, at least one of them: (B,) -> (M,) int64.

    >>> select_small(torch.tensor([3.0, 1.0, 2.0, 4.0]), 0.5)
    tensor([1, 2])
    """
    count = max(1, math.floor(share * len(losses) + 1e-3))  # the rate is a float32
    return losses.detach().topk(count, largest=False).indices


class SmallLossSelection(nn.Module):
    """The share of small losses to keep in each epoch, by a noise rate that is given or estimated at the end of the warm-up.

    Args:
        samples: training rows.
        rate: the noise rate; None: estimated.
        warmup, ramp: as in `share_to_keep`. A rate is estimated after at least one epoch.
    """

    losses: Tensor  # (N,), the latest loss of each row, infinite where it was not seen
    estimate: Tensor  # scalar, the noise rate; 0 until it is estimated

    def __init__(self, samples: int, rate: float | None, warmup: float, ramp: float) -> None:
        super().__init__()
        self.register_buffer("losses", torch.full((samples,), math.inf))
        self.register_buffer("estimate", torch.tensor(0.0 if rate is None else rate))
        self.estimated, self.warmup, self.ramp, self.share = rate is None, warmup, ramp, 1.0

    def begin_epoch(self, clock: Clock) -> None:
        """Set the share of samples to keep in the epoch that begins."""
        if self.estimated and clock.epoch == max(1, math.ceil(self.warmup * clock.epochs)):
            seen = self.losses.isfinite()  # not all rows are, where sampling is not natural
            if seen.any():
                self.estimate.copy_(1 - small_loss_probability(self.losses)[seen].mean())
        self.share = share_to_keep(float(self.estimate), clock, self.warmup, self.ramp)

    def record(self, index: Tensor, losses: Tensor) -> None:
        """Store the losses of some rows: (B,) int64, (B,)."""
        self.losses[index] = losses.detach().to(self.losses.dtype)

    def select(self, losses: Tensor) -> Tensor:
        """Return the rows of a batch to keep: (B,) -> (M,) int64."""
        return select_small(losses, self.share)
