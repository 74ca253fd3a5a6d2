"""sce: Wang et al., "Symmetric Cross Entropy for Robust Learning with Noisy Labels", ICCV 2019, arXiv 1908.06112.

    L = -alpha log p_y - beta sum_c p_c log e_c = -alpha log p_y - beta A (1 - p_y),   p = softmax(z)

e is the one-hot label, and A, the parameter log_zero, stands for log 0. alpha 0.1 and
beta 1 are the authors' for CIFAR-10; for CIFAR-100 they use `sce(alpha=6, beta=0.1)`. Their code has A = log 1e-4, which is the
default here; the paper's text has A = -4.
"""

import math
from typing import Annotated

from annotated_types import Lt
from torch import Tensor

from robustkd.criteria.base import Criterion, label_log_probability, reverse_cross_entropy
from robustkd.types import Batch, DatasetInfo, NonNegative


class SCE(Criterion):
    """Cross entropy plus reverse cross entropy, which is `mae` up to a factor."""

    def __init__(
        self,
        data: DatasetInfo,
        *,
        alpha: NonNegative = 0.1,
        beta: NonNegative = 1.0,
        log_zero: Annotated[float, Lt(0)] = math.log(1e-4),
        drw: bool = False,
    ) -> None:
        super().__init__(data, drw=drw)
        self.alpha, self.beta, self.log_zero = alpha, beta, log_zero

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        log_p = label_log_probability(logits, batch.labels)
        return self.beta * reverse_cross_entropy(log_p, self.log_zero) - self.alpha * log_p
