"""class_balanced: Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019, arXiv 1901.05555.

    L = -w_y log p_y,   w_c ~ (1 - beta) / (1 - beta^n_c),   p = softmax(z)

n_c is the number of training labels of class c. beta 0 is `ce`, and beta 1 weights by 1 / n_c; 0.9999 is one of the paper's
values, and close to 1 / n_c for classes of fewer than a thousand samples.

Differs from the paper: the weights are scaled to a mean of 1 over the training samples instead of the classes. This is the
expectation of PyTorch's weighted mean, and keeps the balance between the criterion and the terms of a method.
`class_balanced(drw=true)` applies the weights in the last fifth of the epochs only.
"""

import torch.nn.functional as F
from torch import Tensor

from robustkd.criteria.base import DRW_BETA, DRW_START, Criterion, effective_number_weights
from robustkd.types import Batch, DatasetInfo, Share


class ClassBalanced(Criterion):
    """Cross entropy weighted by class, with the effective number of samples."""

    removes_prior = True

    def __init__(self, data: DatasetInfo, *, beta: Share = DRW_BETA, drw: bool = False) -> None:
        super().__init__(data)
        self.weight_classes(effective_number_weights(data.counts, beta), DRW_START if drw else 0.0)

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        return F.cross_entropy(logits, batch.labels, reduction="none")
