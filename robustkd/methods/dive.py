"""dive: He, Wu and Wei, "Distilling Virtual Examples for Long-Tailed Recognition", ICCV 2021, arXiv 2103.15042.

    teacher    L = CE(z_t + log n, y)
    train      L = (1 - alpha) CE(z_s + log n, y) + alpha T^2 KL(q || p_s),   p_s = softmax(z_s / T)
               q_c = p_c^power / sum_k p_k^power,   p = softmax(z_t / T)

n are the labels per class: both networks are trained with the balanced softmax (arXiv 2007.10740). The teacher's predictions
are regarded as virtual examples of the classes, whose distribution is flatter than that of the labels; a power below 1 makes it
flatter still, and equals a temperature of T / power for the teacher. alpha 0.5, T 2 and power 0.5 are the authors' for
CIFAR-100-LT.

The teacher has the student's architecture, as in the paper, and its own initial weights. It is trained first, for as many
epochs as the student, and is evaluated as well. Another criterion replaces CE, with the adjusted logits; those that correct for
class sizes themselves are refused.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from robustkd.criteria.base import Criterion
from robustkd.errors import UsageError
from robustkd.functional import kl
from robustkd.method import SelfDistiller
from robustkd.models.net import Network
from robustkd.types import Batch, DatasetInfo, Objective, Positive, Share


def virtual_example_loss(teacher: Tensor, student: Tensor, power: float, temperature: float) -> Tensor:
    """Compute T^2 KL(q || p_s), q the teacher's flattened distribution: (B, K), (B, K) -> scalar."""
    return temperature**2 * kl(power * teacher, student, temperature)


class DiVE(SelfDistiller):
    """Balanced softmax, and distillation from the flattened predictions of a teacher trained with it."""

    removes_prior = True
    log_counts: Tensor  # (K,)

    def __init__(
        self,
        students: Callable[[int], list[Network]],
        data: DatasetInfo,
        criterion: Callable[[], Criterion],
        *,
        alpha: Share = 0.5,
        temperature: Positive = 2.0,
        power: Positive = 0.5,
    ) -> None:
        super().__init__(students, criterion)
        if self.criterion.removes_prior:
            raise UsageError(
                "dive adjusts for class sizes itself, so it cannot have a criterion that does: use dive alone"
            )
        self.alpha, self.temperature, self.power = alpha, temperature, power
        self.register_buffer("log_counts", torch.tensor(data.counts, dtype=torch.float32).clamp(min=1).log())

    def teacher_step(self, batch: Batch) -> Iterator[Objective]:
        """Yield the loss of the teacher, the step of the first phase."""
        logits = self.teacher(batch.images).logits + self.log_counts
        yield Objective({"ce/teacher": self.teacher_criterion(logits, batch).mean()})

    def objective(self, batch: Batch) -> Objective:
        student = self.model(batch.images).logits
        teacher = self.teacher_logits(batch.images)
        supervised = self.criterion(student + self.log_counts, batch).mean()
        virtual = virtual_example_loss(teacher, student, self.power, self.temperature)
        return Objective({"ce": (1 - self.alpha) * supervised, "kd": self.alpha * virtual})
