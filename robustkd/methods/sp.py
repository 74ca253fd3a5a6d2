"""sp: Tung and Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019, arXiv 1907.09682.

    L = CE(z_s, y) + weight / B^2 || G_t - G_s ||_F^2,   G = the rows of A A^T, each divided by its length

A is the last map, flattened to (B, c h w). Channels and sizes need not match. The rows have length 1, so the mean over the B^2
entries falls as 1 / B: the weight of 3000, RepDistiller's, is for batches of 64.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from robustkd.criteria.base import Criterion
from robustkd.method import Distiller
from robustkd.models.net import Frozen, Network
from robustkd.types import Batch, NonNegative, Output


def similarity_matrix(maps: Tensor) -> Tensor:
    """Compute the similarities of the samples of a batch, each row scaled to length 1: (B, ...) -> (B, B)."""
    a = maps.flatten(1)
    return F.normalize(a @ a.T)


class SP(Distiller):
    """The student matches the teacher's similarities between samples."""

    def __init__(
        self, student: Network, teacher: Frozen, criterion: Callable[[], Criterion], *, weight: NonNegative = 3000.0
    ) -> None:
        super().__init__(student, teacher, criterion)
        self.weight = weight

    def transfer(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        return {
            "sp": self.weight
            * (similarity_matrix(student.maps[-1]) - similarity_matrix(teacher.maps[-1])).square().mean()
        }
