"""self_kd: Furlanello et al., "Born-Again Neural Networks", ICML 2018, arXiv 1805.04770.

    teacher    L = CE(z_t, y)                                               a second net of the student's shape
    train      L = (1 - alpha) CE(z_s, y) + alpha T^2 KL(p_t || p_s)        the student, the teacher as it then is

p = softmax(z / T). The teacher starts from weights of its own and is trained for as many epochs as the student, so a run
costs twice the epochs and an answer more per batch. Until the second phase what is evaluated is the untrained student. The
teacher's own answers are measured beside it: that a student beats the net of its shape that taught it is the paper's claim.

The paper adds the teacher's distribution to the labels' loss; its weights were not at hand. alpha 0.9 and T 4 are those of
`hinton` here, so that the two differ in the teacher alone. The same two steps are the self-training of Yuan et al.,
"Revisiting Knowledge Distillation via Label Smoothing Regularization", CVPR 2020, arXiv 1909.11723, whose code has alpha
0.95 and T 6 or 20, with a KL averaged over classes too. One generation; the paper's chain goes on to several.
"""

from collections.abc import Callable, Iterator, Mapping

from torch import Tensor

from robustkd.criteria.base import Criterion
from robustkd.functional import kl
from robustkd.method import Method, Phase
from robustkd.models.net import Network, eval_no_grad
from robustkd.types import Batch, Objective, Positive, Share


class SelfKD(Method):
    """A student taught by a net of its own shape, which is trained first."""

    def __init__(
        self,
        students: Callable[[int], list[Network]],
        criterion: Callable[[], Criterion],
        *,
        alpha: Share = 0.9,
        temperature: Positive = 4.0,
    ) -> None:
        super().__init__()
        self.model, self.teacher = students(2)
        self.criterion, self.teachers_criterion = criterion(), criterion()
        self.alpha, self.temperature = alpha, temperature

    def prepare(self, batch: Batch) -> Iterator[Objective]:
        """The first phase's step: plain training of the teacher."""
        yield Objective({"ce/teacher": self.teachers_criterion(self.teacher(batch.images).logits, batch).mean()})

    def objective(self, batch: Batch) -> Objective:
        student, T = self.model(batch.images).logits, self.temperature
        with eval_no_grad(self.teacher):
            teacher = self.teacher(batch.images).logits
        supervised = (1 - self.alpha) * self.criterion(student, batch).mean()
        return Objective({"ce": supervised, "kd": self.alpha * T**2 * kl(teacher, student, T)})

    def phases(self) -> tuple[Phase, ...]:
        first = [*self.teacher.parameters(), *self.teachers_criterion.parameters()]
        second = [*self.model.parameters(), *self.criterion.parameters()]
        return Phase("teacher", self.prepare, first, epochs=1.0), Phase("train", self.step, second)

    def auxiliary_logits(self, images: Tensor) -> Mapping[str, Tensor]:
        return {"teacher": self.teacher(images).logits}
