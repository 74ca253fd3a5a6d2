"""Mathematics that two or more methods use: pure functions of tensors. B batch, K classes."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from robustkd.types import Clock


def kl(target: Tensor, logits: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(p_t || p_s) of softened logits, averaged over the batch: (B, K), (B, K) -> scalar.

    p = softmax(z / T). The mean is over samples only: over all elements it would be K times too small. T^2, which keeps
    the gradient's size as T grows, is the caller's to multiply with.

    >>> float(kl(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]])))  # a shift of the logits changes nothing
    0.0
    """
    return kl_per_sample(target, logits, temperature).mean()


def kl_per_sample(target: Tensor, logits: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(p_t || p_s) of softened logits, per sample: (B, K), (B, K) -> (B,)."""
    log_p, log_q = F.log_softmax(target / temperature, dim=1), F.log_softmax(logits / temperature, dim=1)
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=1)


def soft_ce(target: Tensor, logits: Tensor, temperature: float = 1.0) -> Tensor:
    """-sum_c p_t,c log p_s,c of softened logits, per sample: (B, K), (B, K) -> (B,).

    Its gradient is that of `kl`; its value is larger by the entropy of p_t.

    >>> round(float(soft_ce(torch.zeros(1, 2), torch.zeros(1, 2))), 4)  # log 2
    0.6931
    """
    return -(F.softmax(target / temperature, dim=1) * F.log_softmax(logits / temperature, dim=1)).sum(dim=1)


def sample_valid_columns(valid: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """A column for each row, drawn evenly from the valid ones, and whether there is any: (N, M) bool -> (N,), (N,) bool."""
    ranked = torch.rand(valid.shape, generator=random, device=valid.device).masked_fill(~valid, -1.0)
    first = ranked.max(dim=1)
    return first.indices, first.values >= 0


def masked_mean(values: Tensor, counted: Tensor) -> Tensor:
    """The mean of the values that count, 0 where none does: (N,), (N,) bool -> scalar.

    >>> float(mean_where(torch.tensor([1.0, 5.0]), torch.tensor([True, False])))
    1.0
    """
    return (values * counted).sum() / counted.sum().clamp(min=1)


def triplet_loss(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """max(0, ||a - p|| - ||a - n|| + margin) per sample: (N, D), (N, D), (N, D) -> (N,).

    >>> origin, three = torch.zeros(1, 2), torch.tensor([[3.0, 0.0]])
    >>> round(float(triplet(origin, three, torch.tensor([[0.0, 4.0]]), 2.0)), 4)  # 3 - 4 + 2
    1.0
    """
    # torch adds 1e-6 to each difference, so that the norm has a slope where two of them coincide.
    return F.triplet_margin_loss(anchor, positive, negative, margin=margin, reduction="none")


def sigmoid_rampup(clock: Clock, share: float) -> float:
    """A weight that rises over the first share of a run: exp(-5 (1 - e / r)^2), and 1 from epoch r on.

    Laine and Aila, "Temporal Ensembling for Semi-Supervised Learning", ICLR 2017, arXiv 1610.02242.

    >>> [round(sigmoid_rampup(Clock(epoch, 300), 80 / 300), 4) for epoch in (0, 20, 40, 80, 299)]
    [0.0067, 0.0601, 0.2865, 1.0, 1.0]
    """
    until = share * clock.epochs
    return math.exp(-5 * (1 - min(clock.epoch / until, 1.0)) ** 2) if until else 1.0
