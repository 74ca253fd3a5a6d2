"""Base class of criteria."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from torch import Tensor, nn

from robustkd.types import Batch, DatasetInfo


class Criterion(nn.Module, ABC):
    """The supervised loss of one network output, per sample: (B, K) logits and a batch -> (B,).

    `data` is all that a criterion may know about the training set. State is kept in buffers. Each supervised output has its
    own instance. Keyword-only parameters of the constructor are hyperparameters.
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

    def __init__(self, data: DatasetInfo) -> None:
        super().__init__()

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        """Compute the loss of each sample, of a mixture as w loss(y_1) + (1 - w) loss(y_2): (B, K) -> (B,)."""
        loss: Callable[[Tensor, Batch], Tensor] = super().__call__
        if batch.mixed is None:
            return loss(logits, batch)
        mixed, first = batch.mixed, replace(batch, mixed=None)
        second = replace(first, labels=mixed.labels, index=mixed.index)
        return mixed.weight * loss(logits, first) + (1 - mixed.weight) * loss(logits, second)

    @abstractmethod
    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        """Compute the loss of each sample for the batch's labels: (B, K) -> (B,). Mixtures are handled by the caller."""
