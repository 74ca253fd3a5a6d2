"""balanced: balanced softmax, -log softmax(z + log n)_y, with n the labels per class; plain z at inference.

Ren et al., "Balanced Meta-Softmax for Long-Tailed Visual Recognition", NeurIPS 2020, arXiv 2007.10740.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from robustkd.criteria.base import Criterion
from robustkd.types import Batch, DatasetInfo


class Balanced(Criterion):
    """Balanced softmax: the student need not learn the class prior of the training set."""

    removes_prior = True
    log_counts: Tensor  # (K,)

    def __init__(self, data: DatasetInfo, *, drw: bool = False) -> None:
        super().__init__(data, drw=drw)
        self.register_buffer("log_counts", torch.tensor(data.counts, dtype=torch.float32).log())

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        return F.cross_entropy(logits + self.log_counts, batch.labels, reduction="none")
