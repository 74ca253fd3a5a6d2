"""self_kd: Furlanello et al., "Born-Again Neural Networks", ICML 2018, arXiv 1805.04770.

    teacher    L = CE(z_t, y)                                               a second network of the student's architecture
    train      L = (1 - alpha) CE(z_s, y) + alpha T^2 KL(p_t || p_s)        the student, with the trained teacher

p = softmax(z / T). The teacher has its own initial weights and is trained for as many epochs as the student, so a run takes
twice the epochs and one more forward per batch. Until the second phase, the untrained student is evaluated. The teacher is
evaluated as well: the claim of the paper is that a student outperforms a teacher of its own architecture.

The paper adds the teacher's distribution to the loss of the labels; its weights were not available. alpha 0.9 and T 4 are
those of `hinton` here, so that the two differ only in the teacher. The same two steps are the self-training of Yuan et al.,
"Revisiting Knowledge Distillation via Label Smoothing Regularization", CVPR 2020, arXiv 1909.11723, whose code uses alpha 0.95
and T 6 or 20, with a KL averaged over classes as well. This is one generation; the paper continues the chain.
"""

from collections.abc import Callable

from robustkd.criteria.base import Criterion
from robustkd.functional import kl
from robustkd.method import SelfDistiller
from robustkd.models.net import Network
from robustkd.types import Batch, Objective, Positive, Share


class SelfKD(SelfDistiller):
    """Distillation from a teacher of the student's architecture, which is trained first."""

    def __init__(
        self,
        students: Callable[[int], list[Network]],
        criterion: Callable[[], Criterion],
        *,
        alpha: Share = 0.9,
        temperature: Positive = 4.0,
    ) -> None:
        super().__init__(students, criterion)
        self.alpha, self.temperature = alpha, temperature

    def objective(self, batch: Batch) -> Objective:
        student, T = self.model(batch.images).logits, self.temperature
        teacher = self.teacher_logits(batch.images)
        supervised = (1 - self.alpha) * self.criterion(student, batch).mean()
        return Objective({"ce": supervised, "kd": self.alpha * T**2 * kl(teacher, student, T)})
