"""Base class of criteria."""

from abc import ABC, abstractmethod
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

    def __init__(self, data: DatasetInfo) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        """Compute the loss of each sample: (B, K) -> (B,)."""
