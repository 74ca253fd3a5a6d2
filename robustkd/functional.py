"""Loss functions and tensor operations shared by two or more methods. B: batch size, K: number of classes."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from robustkd.types import Clock

MIN_NORM = 1e-3  # shorter vectors have no meaningful direction; dividing by at least this bounds the gradient


def kl(target: Tensor, logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Compute KL(p_t || p_s) of softened logits, averaged over the batch: (B, K), (B, K) -> scalar.

    p = softmax(z / T). The mean is over samples only: over all elements it would be K times too small. The factor T^2, which
    keeps the scale of the gradient as T grows, is left to the caller.

    >>> float(kl(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]])))  # a constant shift of the logits has no effect
    0.0
    """
    return kl_per_sample(target, logits, temperature).mean()


def kl_per_sample(target: Tensor, logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Compute KL(p_t || p_s) of softened logits for each sample: (B, K), (B, K) -> (B,)."""
    log_p, log_q = F.log_softmax(target / temperature, dim=1), F.log_softmax(logits / temperature, dim=1)
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=1)


def soft_ce(target: Tensor, logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Compute -sum_c p_t,c log p_s,c of softened logits for each sample: (B, K), (B, K) -> (B,).

    Its gradient equals that of `kl_per_sample`; its value is larger by the entropy of p_t.

    >>> round(float(soft_ce(torch.zeros(1, 2), torch.zeros(1, 2))), 4)  # log 2
    0.6931
    """
    return -(F.softmax(target / temperature, dim=1) * F.log_softmax(logits / temperature, dim=1)).sum(dim=1)


def sample_valid_columns(valid: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Sample one valid column per row uniformly: (N, M) bool -> indices (N,), whether the row has a valid one (N,) bool."""
    scores = torch.rand(valid.shape, generator=random, device=valid.device).masked_fill(~valid, -1.0)
    highest = scores.max(dim=1)
    return highest.indices, highest.values >= 0


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Compute the mean of the selected values, 0 if none is selected: (N,), (N,) bool -> scalar.

    >>> float(masked_mean(torch.tensor([1.0, 5.0]), torch.tensor([True, False])))
    1.0
    """
    return (values * mask).sum() / mask.sum().clamp(min=1)


def masked_median(values: Tensor, mask: Tensor) -> Tensor:
    """Compute the lower median of the selected values, 0 if none is selected: (N,), (N,) bool -> scalar. Never synchronises.

    >>> float(masked_median(torch.tensor([9.0, 1.0, 5.0, 2.0]), torch.tensor([False, True, True, True])))
    2.0
    """
    ordered, count = values.masked_fill(~mask, torch.inf).sort().values, mask.sum()
    median = ordered.gather(0, ((count - 1).clamp(min=0) // 2)[None])[0]
    return median.where(count > 0, 0.0)


def safe_normalise(vectors: Tensor) -> Tensor:
    """Scale each row to length 1; rows shorter than MIN_NORM are divided by MIN_NORM instead: (N, D) -> (N, D)."""
    return F.normalize(vectors, eps=MIN_NORM)


def triplet_loss(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float | Tensor) -> Tensor:
    """Compute max(0, ||a - p|| - ||a - n|| + margin) for each sample: three (N, D), a number or (N,) -> (N,).

    >>> anchor, positive = torch.zeros(1, 2), torch.tensor([[3.0, 0.0]])
    >>> round(float(triplet_loss(anchor, positive, torch.tensor([[0.0, 4.0]]), 2.0)), 4)  # 3 - 4 + 2
    1.0
    """
    # torch adds 1e-6 to each difference, so that the norm is differentiable where two vectors coincide.
    to_positive, to_negative = F.pairwise_distance(anchor, positive), F.pairwise_distance(anchor, negative)
    return (margin + to_positive - to_negative).clamp(min=0)


def sigmoid_rampup(clock: Clock, share: float) -> float:
    """Return a weight that rises over the first `share` of the epochs: exp(-5 (1 - e / r)^2), and 1 from epoch r on.

    Laine and Aila, "Temporal Ensembling for Semi-Supervised Learning", ICLR 2017, arXiv 1610.02242.

    >>> [round(sigmoid_rampup(Clock(epoch, 300), 80 / 300), 4) for epoch in (0, 20, 40, 80, 299)]
    [0.0067, 0.0601, 0.2865, 1.0, 1.0]
    """
    length = share * clock.epochs
    return math.exp(-5 * (1 - min(clock.epoch / length, 1.0)) ** 2) if length else 1.0
