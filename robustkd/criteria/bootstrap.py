"""bootstrap_soft, bootstrap_hard: Reed et al., "Training Deep Neural Networks on Noisy Labels with Bootstrapping", 2014.

Workshop track of ICLR 2015, arXiv 1412.6596.

    soft   L = -beta log p_y - (1 - beta) sum_c p_c log p_c          p = softmax(z)
    hard   L = -beta log p_y - (1 - beta) log p_k,   k = argmax_c p_c

The prediction is trusted as a second label. As in the paper, the gradient of the soft form flows through both p of the second
term, an entropy. beta 0.95 (soft) and 0.8 (hard) are the authors'.
"""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from robustkd.criteria.base import Criterion
from robustkd.types import Batch, DatasetInfo, Share


class Bootstrap(Criterion):
    """Cross entropy with labels that are mixed with the network's own prediction."""

    def __init__(
        self,
        data: DatasetInfo,
        *,
        beta: Share = 0.95,
        prediction: Literal["soft", "hard"] = "soft",
        drw: bool = False,
    ) -> None:
        super().__init__(data, drw=drw)
        self.beta, self.hard = beta, prediction == "hard"

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        log_p = F.log_softmax(logits, dim=1)
        own = log_p.max(dim=1).values if self.hard else (log_p.exp() * log_p).sum(dim=1)
        return self.beta * F.nll_loss(log_p, batch.labels, reduction="none") - (1 - self.beta) * own
