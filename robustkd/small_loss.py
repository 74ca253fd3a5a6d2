"""Small-loss selection: networks fit correct labels first, so the samples with the smallest losses are probably correct.

A mixture of two normal distributions, fitted to the latest losses of all training rows, gives the probability that a row
belongs to the component of small losses, as in Li, Socher and Hoi, "DivideMix", ICLR 2020, arXiv 2002.07394. The weight of the
other component is an estimate of the noise rate. It is estimated once, from networks that were trained on all samples so far:
networks trained on the small losses only make the other losses larger, and an estimate that is repeated grows.
"""

import math

import torch
from torch import Tensor, nn

from robustkd.types import Clock

MIN_VARIANCE = 5e-4  # of losses scaled to [0, 1], as in the code of DivideMix
ITERATIONS = 100  # of expectation maximisation: a fixed number, so that the host does not wait for the device


def small_loss_probability(losses: Tensor) -> Tensor:
    """Return the probability of each loss to belong to the smaller of two normal distributions fitted to all: (N,) -> (N,).

    Losses that are all equal have probability 1: there is no reason to doubt these rows. Those that are not finite have it too,
    and are not part of the fit.

    >>> small_loss_probability(torch.tensor([0.1, 0.2, 0.1, 5.0, 5.1])).round().tolist()
    [1.0, 1.0, 1.0, 0.0, 0.0]
    """
    known, probabilities = losses.isfinite(), torch.ones_like(losses, dtype=torch.float32)
    if known.any():
        probabilities[known] = _fit_mixture(losses[known].double())
    return probabilities


def _fit_mixture(losses: Tensor) -> Tensor:
    """Return the probability of each loss to belong to the smaller component: (N,) finite -> (N,) float32."""
    spread = losses.max() - losses.min()
    x = (losses - losses.min()) / spread.clamp(min=1e-12)
    mean = torch.quantile(x, x.new_tensor([0.25, 0.75])) if len(x) <= 2**24 else x.new_tensor([0.0, 1.0])
    weight, variance = x.new_full((2,), 0.5), x.var(correction=0).clamp(min=MIN_VARIANCE).expand(2)
    posterior = x.new_ones(len(x), 2)
    for _ in range(ITERATIONS):
        squares = (x[:, None] - mean).square()
        posterior = (weight.log() - (variance.log() + squares / variance) / 2).softmax(dim=1)
        total = posterior.sum(dim=0).clamp(min=1e-9)
        weight, mean = total / len(x), (posterior * x[:, None]).sum(dim=0) / total
        variance = (posterior * (x[:, None] - mean).square()).sum(dim=0) / total + MIN_VARIANCE
    small = posterior.gather(1, mean.argmin().expand(len(x), 1))[:, 0]
    # A normal distribution with a large variance also claims losses far below the mean of the small ones.
    small = small.where(x > mean.min(), 1.0)
    return small.where(spread > 0, 1.0).float()


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
        self.losses[index] = losses.detach().float()

    def select(self, losses: Tensor) -> Tensor:
        """Return the rows of a batch to keep: (B,) -> (M,) int64."""
        return select_small(losses, self.share)
