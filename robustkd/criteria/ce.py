"""ce: cross entropy, -log softmax(z)_y."""

import torch.nn.functional as F
from torch import Tensor

from robustkd.criteria.base import Criterion
from robustkd.types import Batch


class CE(Criterion):
    """Cross entropy."""

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        return F.cross_entropy(logits, batch.labels, reduction="none")
