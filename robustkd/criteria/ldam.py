"""ldam: Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss", NeurIPS 2019, arXiv 1906.07413.

    L = CE(s (cos - D_y e_y), y),   D_c = margin (min_k n_k / n_c)^(1/4)

cos is the cosine of embedding and class weight, and e_y the one-hot label: a label has to be predicted by a margin, which is
larger for rare classes. The networks have a cosine head, whose logits are s cos, also at inference; s 30 and margin 0.5 are
the authors'. The paper combines it with deferred re-weighting: `ldam(drw=true)`.

The teacher has a linear head unless it is trained with `--teacher-criterion ldam`. Methods that compare logits compare those
of the student's cosine head with them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from robustkd.criteria.base import Criterion
from robustkd.models.layers import COSINE_SCALE
from robustkd.types import Batch, DatasetInfo, NonNegative


class LDAM(Criterion):
    """Cross entropy with a margin that is larger for rare classes, on the logits of a cosine head."""

    head = "cosine"
    margins: Tensor  # (K,), in units of the logits

    def __init__(self, data: DatasetInfo, *, margin: NonNegative = 0.5, drw: bool = False) -> None:
        super().__init__(data, drw=drw)
        least = min(count for count in data.counts if count)
        n = torch.tensor(data.counts, dtype=torch.float32).clamp(min=least)
        self.register_buffer("margins", COSINE_SCALE * margin * (least / n) ** 0.25)

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        labels = batch.labels[:, None]
        margins = self.margins[labels].to(logits.dtype)
        return F.cross_entropy(logits.scatter_add(1, labels, -margins), batch.labels, reduction="none")
