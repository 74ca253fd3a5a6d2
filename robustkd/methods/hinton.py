"""hinton: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv 1503.02531.

    L = (1 - alpha) CE(z_s, y) + alpha T^2 KL(p_t || p_s),   p = softmax(z / T)

The paper does not fix a weight; alpha 0.9 and T 4 are those of the attention-transfer code, RepDistiller and mdistiller.

clean_teacher is the same with a teacher that is trained with the true labels, a control that shows how much the labels of the
teacher matter.
"""

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor

from robustkd.criteria.base import Criterion
from robustkd.functional import kl
from robustkd.method import Distiller
from robustkd.models.net import Frozen, Network
from robustkd.types import Batch, Output, Positive, Share, TrainingLabels


class Hinton(Distiller):
    """The student matches the teacher's softened distribution."""

    def __init__(
        self,
        student: Network,
        teacher: Frozen,
        criterion: Callable[[], Criterion],
        *,
        alpha: Share = 0.9,
        temperature: Positive = 4.0,
    ) -> None:
        super().__init__(student, teacher, criterion, ce=1 - alpha)
        self.alpha, self.temperature = alpha, temperature

    def transfer(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        T = self.temperature
        return {"kd": self.alpha * T**2 * kl(teacher.logits, student.logits, T)}


class CleanTeacher(Hinton):
    """Soft targets of a teacher that is trained with the true labels."""

    oracle: ClassVar[bool] = True
    teacher_labels: ClassVar[TrainingLabels] = "true"
