"""smooth: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016, arXiv 1512.00567.

    L = -(1 - s) log p_y - s mean_c log p_c,   p = softmax(z)

s is the smoothing, 0.1 in the paper. The method `smooth` is the same loss as `baseline+smooth`, and has consistency as an
option; it is what `--smooth-teacher` uses. This criterion smooths the labels of any other method.
"""

import torch.nn.functional as F
from torch import Tensor

from robustkd.criteria.base import Criterion
from robustkd.types import Batch, DatasetInfo, Share


class LabelSmoothing(Criterion):
    """Cross entropy with part of each label spread uniformly over all classes."""

    def __init__(self, data: DatasetInfo, *, smoothing: Share = 0.1, drw: bool = False) -> None:
        super().__init__(data, drw=drw)
        self.smoothing = smoothing

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        return F.cross_entropy(logits, batch.labels, reduction="none", label_smoothing=self.smoothing)
