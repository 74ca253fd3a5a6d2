"""elr: Liu et al., "Early-Learning Regularization Prevents Memorization of Noisy Labels", NeurIPS 2020, arXiv 2007.00151.

    L = -log p_y + weight log(1 - <p, m_i>),   p = softmax(z)
    m_i <- beta m_i + (1 - beta) p,   at each visit of sample i, before its loss

m_i is the moving average of the predictions for sample i, starting at 0. The second term rewards agreement with what was
predicted early on, before wrong labels are memorised; it makes the loss negative. weight 3 and beta 0.7 are the authors' for
CIFAR-10; for CIFAR-100 they use `elr(weight=7, beta=0.9)`. As in their code, p is clamped to [1e-4, 1 - 1e-4] in the second
term, and scaled to sum 1 for the average.

The memory holds a number for each training sample and class, is part of the run's state, and belongs to one network output:
each of the networks of `dml+elr` has its own. Where a batch has a sample several times, as with `--sampling balanced` or the
particles of `tald`, the mean of its predictions counts as one visit.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from robustkd.criteria.base import Criterion
from robustkd.types import Batch, DatasetInfo, NonNegative, Share

MARGIN = 1e-4  # of probabilities to 0 and 1


def early_learning_term(p: Tensor, average: Tensor) -> Tensor:
    """Compute log(1 - <p, m>) of clamped probabilities for each sample: (B, K), (B, K) -> (B,).

    >>> p = torch.tensor([[0.5, 0.5]])
    >>> round(float(early_learning_term(p, p)), 4)  # log 1/2
    -0.6931
    """
    return torch.log1p(-(p * average).sum(dim=1))


class ELR(Criterion):
    """Cross entropy with a reward for agreement with earlier predictions of the same sample."""

    supports_mixing = False
    average: Tensor  # (N, K) of the predictions for each training sample

    def __init__(self, data: DatasetInfo, *, weight: NonNegative = 3.0, beta: Share = 0.7, drw: bool = False) -> None:
        super().__init__(data, drw=drw)
        self.weight, self.beta = weight, beta
        self.register_buffer("average", torch.zeros(data.samples, data.classes))

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        p = F.softmax(logits, dim=1).clamp(MARGIN, 1 - MARGIN)
        average = self.update_average(p.detach(), batch.index)
        supervised = F.cross_entropy(logits, batch.labels, reduction="none")
        return supervised + self.weight * early_learning_term(p, average)

    def update_average(self, p: Tensor, index: Tensor) -> Tensor:
        """Update the averages of a batch's samples and return them: (B, K), (B,) -> (B, K)."""
        p = p / p.sum(dim=1, keepdim=True)
        # Equal rows for equal samples: which of them is written last does not matter.
        same = (index[:, None] == index).to(p.dtype)
        p = same @ p / same.sum(dim=1, keepdim=True)
        average = torch.lerp(p, self.average[index].to(p.dtype), self.beta)
        self.average[index] = average.to(self.average.dtype)
        return average
