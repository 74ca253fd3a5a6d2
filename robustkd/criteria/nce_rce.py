"""nce_rce: Ma et al., "Normalized Loss Functions for Deep Learning with Noisy Labels", ICML 2020, arXiv 2006.13554.

    L = alpha log p_y / sum_c log p_c - beta A (1 - p_y),   p = softmax(z)

The first term is the cross entropy divided by its sum over all labels, which makes it robust but slow; the second, the reverse
cross entropy with A = log 1e-4 in place of log 0, makes up for that. alpha 1 and beta 1 are the authors' for CIFAR-10; for
CIFAR-100 they use `nce_rce(alpha=10, beta=0.1)`.
"""

import math

import torch.nn.functional as F
from torch import Tensor

from robustkd.criteria.base import Criterion, reverse_cross_entropy
from robustkd.types import Batch, DatasetInfo, NonNegative

LOG_ZERO = math.log(1e-4)


class NCEandRCE(Criterion):
    """Normalised cross entropy plus reverse cross entropy."""

    def __init__(
        self, data: DatasetInfo, *, alpha: NonNegative = 1.0, beta: NonNegative = 1.0, drw: bool = False
    ) -> None:
        super().__init__(data, drw=drw)
        self.alpha, self.beta = alpha, beta

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        log_p = F.log_softmax(logits, dim=1)
        of_label = log_p.gather(1, batch.labels[:, None]).squeeze(1)
        return self.alpha * of_label / log_p.sum(dim=1) + self.beta * reverse_cross_entropy(of_label, LOG_ZERO)
