"""gce: Zhang and Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels", NeurIPS 2018.

arXiv 1805.07836.

    L = (1 - p_y^q) / q,   p = softmax(z)
    truncated:   L = (1 - k^q) / q where p_y <= k,   from the share `start` of the epochs on

q interpolates between cross entropy (q to 0) and `mae` (q 1); 0.7 is the paper's. Truncation, `gce(truncate=0.5)`, ignores
samples whose label has a probability of at most k: the constant has no gradient.

Differs from the paper: there, truncation prunes samples every 10 of 120 epochs from epoch 40 on, each time with the network
that was best so far. Here it is decided at every step by the present network, from the same third of the epochs on, so that
nothing has to be remembered of a sample, and a sample returns as soon as its label is believed.
"""

import math

import torch
from torch import Tensor

from robustkd.criteria.base import Criterion, label_log_probability
from robustkd.types import Batch, DatasetInfo, Share


class GCE(Criterion):
    """Generalised cross entropy, optionally truncated."""

    def __init__(
        self,
        data: DatasetInfo,
        *,
        q: Share = 0.7,
        truncate: Share = 0.0,
        start: Share = 1 / 3,
        drw: bool = False,
    ) -> None:
        super().__init__(data, drw=drw)
        self.q, self.truncate, self.start = q, truncate, start

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        log_p = label_log_probability(logits, batch.labels)
        if self.truncate and batch.clock.epoch >= self.start * batch.clock.epochs:
            # The clamp is constant, and has no gradient, below its minimum.
            log_p = log_p.clamp(min=math.log(self.truncate))
        return -torch.expm1(self.q * log_p) / self.q if self.q else -log_p
