"""phuber: Menon et al., "Can gradient clipping mitigate label noise?", ICLR 2020.

    L = -log p_y             where p_y > 1 / tau,   p = softmax(z)
    L = 1 + log tau - tau p_y   otherwise

The partially Huberised cross entropy: its derivative with respect to p_y is clipped at tau, so that a sample with a label that
is not believed has a bounded influence. tau 1 is `mae`, and an infinite tau is `ce`. tau 2 is the authors' for CIFAR-10; for
CIFAR-100 they use `phuber(tau=10)`.
"""

import math
from typing import Annotated

import torch
from annotated_types import Ge
from pydantic import AllowInfNan
from torch import Tensor

from robustkd.criteria.base import Criterion, label_log_probability
from robustkd.types import Batch, DatasetInfo


class PHuber(Criterion):
    """Cross entropy, continued linearly for improbable labels."""

    def __init__(
        self, data: DatasetInfo, *, tau: Annotated[float, Ge(1), AllowInfNan(False)] = 2.0, drw: bool = False
    ) -> None:
        super().__init__(data, drw=drw)
        self.tau = tau

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        log_p = label_log_probability(logits, batch.labels)
        linear = 1 + math.log(self.tau) - self.tau * log_p.exp()
        return torch.where(log_p > -math.log(self.tau), -log_p, linear)
