"""Base class of criteria, and what several of them share."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustkd.types import Batch, DatasetInfo

# Deferred re-weighting of Cao et al. (arXiv 1906.07413): weights of this beta, from this share of the epochs on.
DRW_BETA, DRW_START = 0.9999, 0.8


class Criterion(nn.Module, ABC):
    """The supervised loss of one network output, per sample: (B, K) logits and a batch -> (B,).

    `data` is all that a criterion may know about the training set. State is kept in buffers. Each supervised output has its
    own instance. Keyword-only parameters of the constructor are hyperparameters. A criterion overrides `forward`; calling it
    also mixes the losses of mixed samples, and applies the weights of classes.

    Args:
        data: the training set, for criteria that ask for it.
        drw: deferred re-weighting, Cao et al., NeurIPS 2019, arXiv 1906.07413: in the last fifth of the epochs, the loss of a
            sample is multiplied by the weight of its label's class (see `effective_number_weights`).
    """

    head: ClassVar[str] = "linear"  # or "cosine", for criteria that need scaled cosines as logits
    # Raised by every change of the criterion that changes what is learned: runs that use it are then trained again.
    version: ClassVar[int] = 1
    # Whether it uses knowledge that a user would not have, such as the true noise rate: always, or where one of these
    # hyperparameters is given. Such rows are marked "oracle" in tables and are not ranked.
    oracle: ClassVar[bool] = False
    oracle_parameters: ClassVar[tuple[str, ...]] = ()
    # Whether the loss of a mixture of two samples is defined. It is not where a state is kept for each training row.
    supports_mixing: ClassVar[bool] = True
    # Whether the logits it trains are free of the class prior, so that logit adjustment after training would be a second one.
    removes_prior: ClassVar[bool] = False
    # Hyperparameters that are paths of files, whose content decides what is learned.
    file_parameters: ClassVar[tuple[str, ...]] = ()

    class_weights: Tensor  # (K,), of criteria that weight classes only

    def __init__(self, data: DatasetInfo | None = None, *, drw: bool = False) -> None:
        super().__init__()
        self.weighted_from: float | None = None  # share of the epochs; None: classes are not weighted
        if drw:
            if data is None:
                raise TypeError("drw weights classes by their sizes: pass `data` to the base class")
            self.weight_classes(effective_number_weights(data.counts, DRW_BETA), DRW_START)

    def weight_classes(self, weights: Tensor, start: float = 0.0) -> None:
        """Multiply the loss of each sample by the weight of its label's class, (K,), from a share of the epochs on."""
        self.register_buffer("class_weights", weights.float())
        self.weighted_from = start

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        """Compute the loss of each sample, of a mixture as w loss(y_1) + (1 - w) loss(y_2): (B, K) -> (B,)."""
        if batch.mixed is None:
            return self._weighted_losses(logits, batch)
        mixed, first = batch.mixed, replace(batch, mixed=None)
        second = replace(first, labels=mixed.labels, index=mixed.index)
        own, other = (self._weighted_losses(logits, each) for each in (first, second))
        return mixed.weight * own + (1 - mixed.weight) * other

    def _weighted_losses(self, logits: Tensor, batch: Batch) -> Tensor:
        losses: Tensor = super().__call__(logits, batch)
        if self.weighted_from is not None and batch.clock.epoch >= self.weighted_from * batch.clock.epochs:
            losses = losses * self.class_weights[batch.labels]
        return losses

    @abstractmethod
    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        """Compute the loss of each sample for the batch's labels: (B, K) -> (B,). Mixtures are handled by the caller."""


def effective_number_weights(counts: Sequence[int], beta: float) -> Tensor:
    """Compute the class-balanced weights (1 - b) / (1 - b^n_c) of Cui et al., arXiv 1901.05555: (K,) in float64.

    They are inversely proportional to the class sizes at beta 1, equal at beta 0, and scaled so that their mean over the
    training samples is 1: a loss that averages over samples then keeps its scale. A class without samples has weight 0.

    >>> effective_number_weights([30, 10, 0], beta=1.0).tolist()
    [0.6666666666666666, 2.0, 0.0]
    """
    n = torch.tensor(counts, dtype=torch.float64)
    numbers = n if beta == 1 else -torch.expm1(n * torch.tensor(beta, dtype=torch.float64).log())
    weights = torch.where(n > 0, 1 / numbers, 0.0)
    return weights * n.sum() / (weights * n).sum()


def label_log_probability(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute log softmax(z)_y for each sample: (B, K), (B,) -> (B,).

    >>> round(float(label_log_probability(torch.zeros(1, 2), torch.tensor([0]))[0]), 4)  # -log 2
    -0.6931
    """
    return -F.cross_entropy(logits, labels, reduction="none")


def reverse_cross_entropy(log_p: Tensor, log_zero: float) -> Tensor:
    """Compute -sum_c p_c log e_c for a one-hot label e with log 0 replaced, -log_zero (1 - p_y), from log p_y: (B,) -> (B,)."""
    return log_zero * torch.expm1(log_p)
