"""matched_smoothing: label smoothing as strong as the teacher is unsure, without anything else that the teacher knows.

    L = (1 - e) CE(z, y) + e mean_c(-log p_c),   e = (1 - m) K / (K - 1),   m = mean_B max_c p_t,c

A control for `hinton`: the smoothed target has as much probability on the label as the teacher has on its prediction, on
average over the batch, and spreads the rest evenly. What distillation gains over it is due to how the teacher ranks the
classes and how sure it is of each image. Where the teacher is certain, e is 0; where its distribution is uniform, e is 1.

Label smoothing and distillation are related in Yuan et al., "Revisiting Knowledge Distillation via Label Smoothing
Regularization", CVPR 2020, arXiv 1909.11723. The teacher's temperature is 1 by default; `hinton` softens with 4, at which a
teacher's confidence is lower.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from robustkd.criteria.base import Criterion
from robustkd.method import Distiller
from robustkd.models.net import Frozen, Network
from robustkd.types import Batch, Objective, Positive


def matched_rate(teacher: Tensor, temperature: float) -> Tensor:
    """Return the rate of label smoothing at which targets are as confident as a teacher: (B, K) logits -> scalar in [0, 1]."""
    classes = teacher.shape[1]
    confidence = F.softmax(teacher / temperature, dim=1).amax(dim=1).mean()
    return (1 - confidence) * classes / (classes - 1)


class MatchedSmoothing(Distiller):
    """Plain training with label smoothing whose rate is the teacher's uncertainty."""

    def __init__(
        self,
        student: Network,
        teacher: Frozen,
        criterion: Callable[[], Criterion],
        *,
        temperature: Positive = 1.0,
    ) -> None:
        super().__init__(student, teacher, criterion)
        self.temperature = temperature

    def objective(self, batch: Batch) -> Objective:
        logits = self.student(batch.images).logits
        with torch.no_grad():
            rate = matched_rate(self.teacher(batch.images).logits, self.temperature)
        uniform = -F.log_softmax(logits, dim=1).mean(dim=1)
        terms = {"ce": (1 - rate) * self.criterion(logits, batch).mean(), "labels": rate * uniform.mean()}
        return Objective(terms, {"smoothing": rate})
