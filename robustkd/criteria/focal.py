"""focal: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, arXiv 1708.02002.

    L = -(1 - p_y)^gamma log p_y,   p = softmax(z)

Samples that are predicted well count less. gamma 2 is the paper's; the long-tail studies of LDAM use `focal(gamma=1)`. Under
label noise it does the opposite of a robust loss: wrong labels are the samples that are predicted badly.

Differs from the paper, which is about detection: p is a softmax over classes instead of a sigmoid for each, and classes have no
weight alpha; see `class_balanced` for weights.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from robustkd.criteria.base import Criterion
from robustkd.types import Batch, DatasetInfo, NonNegative


class Focal(Criterion):
    """Cross entropy with less weight on samples that are predicted well."""

    def __init__(self, data: DatasetInfo, *, gamma: NonNegative = 2.0, drw: bool = False) -> None:
        super().__init__(data, drw=drw)
        self.gamma = gamma

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        log_p = F.log_softmax(logits, dim=1)
        labels = batch.labels[:, None]
        # log(1 - p_y) from the other classes is exact for p_y close to 1, and a power of it has a finite gradient at gamma < 1.
        log_rest = log_p.scatter(1, labels, -torch.inf).logsumexp(dim=1)
        return -(self.gamma * log_rest).exp() * log_p.gather(1, labels).squeeze(1)
