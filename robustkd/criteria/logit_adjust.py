"""logit_adjust: Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, arXiv 2007.07314.

    L = -log softmax(z + tau log pi)_y,   pi_c = n_c / N

pi is the class prior of the training labels; at inference, z is used as it is. tau 1 is the paper's, and is then `balanced`;
tau 0 is `ce`. The same paper's correction after training, z - tau log pi, needs no criterion: it is evaluated for every run
whose classes differ in size (see `robustkd.evaluation.logit_adjustment`).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from robustkd.criteria.base import Criterion
from robustkd.types import Batch, DatasetInfo, NonNegative


class LogitAdjust(Criterion):
    """Cross entropy of logits to which the scaled logarithm of the class prior is added."""

    removes_prior = True
    offsets: Tensor  # (K,)

    def __init__(self, data: DatasetInfo, *, tau: NonNegative = 1.0, drw: bool = False) -> None:
        super().__init__(data, drw=drw)
        prior = torch.tensor(data.counts, dtype=torch.float64) / sum(data.counts)
        # xlogy is 0 for tau 0 also where the prior is 0.
        self.register_buffer("offsets", torch.xlogy(tau, prior).float())

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        return F.cross_entropy(logits + self.offsets, batch.labels, reduction="none")
