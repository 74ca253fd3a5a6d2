"""What a criterion is: how labels are believed."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from robustkd.types import Batch, DatasetInfo


class Criterion(nn.Module, ABC):
    """One supervised output's loss per sample: (B, K) logits and a batch -> (B,).

    It learns what a method may know of the data through `data`, keeps what it must remember in buffers, and is made anew
    for every supervised output. Hyperparameters are the keyword-only rest of its signature.
    """

    head: ClassVar[str] = "linear"  # or "cosine", for criteria that need scaled cosines as logits

    def __init__(self, data: DatasetInfo) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        """The loss of each sample: (B, K) -> (B,)."""
