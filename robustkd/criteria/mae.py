"""mae: Ghosh, Kumar and Sastry, "Robust Loss Functions under Label Noise for Deep Neural Networks", AAAI 2017.

arXiv 1712.09482.

    L = 1 - p_y,   p = softmax(z)

The loss is bounded and symmetric: its sum over all labels is constant, so uniform label noise does not move its minimum. It
learns slowly, because the gradient vanishes for samples that are predicted badly.

Differs from the paper: the distance |e_y - p|_1 is twice this value; this is `gce` at q 1.
"""

import torch
from torch import Tensor

from robustkd.criteria.base import Criterion, label_log_probability
from robustkd.types import Batch


class MAE(Criterion):
    """Mean absolute error between the label and the predicted distribution."""

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        return -torch.expm1(label_log_probability(logits, batch.labels))
