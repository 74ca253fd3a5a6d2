"""mean_teacher: Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017, arXiv 1703.01780.

    L = CE(z_s, y) + r(e) (mse 1/K ||p_s - p_a||^2 + kl KL(p_a || p_s)),    r(e) = exp(-5 (1 - min(e, R) / R)^2)
    a <- k a + (1 - k) s after each update,    k = min(1 - 1 / (t + 1), decay),    t = 1 after the first

s are the student's parameters and a their moving average, which starts as a copy of the student, processes another
augmentation of the same images, and receives no gradient. The weight rises over the first R = ramp * epochs.

The average is evaluated and exported, as by the authors; tables show the student as `mean_teacher, student`.

The default of mse is K^2 / (1 - 1/K) / 2, the coefficient that the authors give for a consistency as strong as the
classification: 4, 55.6 and 5050.5 for 2, 10 and 100 classes. The gradient of the squared error shrinks with K: where the
student is undecided and the average certain, the norm of the weighted one is 1 / (1 - 1/K) of the cross entropy's, which is 2
for two classes, 1.1 for ten and 1 for many. On CIFAR-10 they used 100, 1.8 times as much.

decay 0.97 and a ramp of 5 of 180 epochs are those of their PyTorch code for CIFAR-10, with residual networks and SGD as here.
Their other settings, in full:

| setting | word |
|---|---|
| CIFAR-10, TensorFlow, 150,000 updates | `mean_teacher(mse=100, decay=0.999, ramp=0.267)` |
| ImageNet, PyTorch, 60 epochs | `mean_teacher(mse=0, kl=10, decay=0.9997, ramp=0.083)` |

The average is over about 1 / (1 - decay) updates: 33 by default, but 1000 at 0.999, more than a short study has.

As in the authors' PyTorch code, only parameters are averaged: the average runs in training mode, so its batch norm uses the
statistics of its own batch and collects its own running statistics. Their second output for the consistency is not used, and
all samples have labels.

`consistent=unreliable` applies the consistency only to samples for which the average does not predict the label, where
labels are likely to be wrong; the mean is still over the batch. This is not part of the paper: the idea, not the method, is
taken from dual knowledge distillation for translation (Computer Speech and Language 2024, based on the abstract). Labels are
then used outside the criterion.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from robustkd.criteria.base import Criterion
from robustkd.functional import kl_per_sample, sigmoid_rampup
from robustkd.method import Method
from robustkd.models.net import Network
from robustkd.types import Batch, DatasetInfo, NonNegative, Objective, Share


def squared_error(target: Tensor, logits: Tensor) -> Tensor:
    """Compute 1/K ||p_t - p_s||^2 for each sample: (B, K), (B, K) -> (B,)."""
    return (F.softmax(target, dim=1) - F.softmax(logits, dim=1)).square().mean(dim=1)


def matching_weight(classes: int) -> float:
    """Return the weight of the squared error at which it counts as much as the cross entropy.

    >>> [round(matching_weight(K), 1) for K in (2, 10, 100)]
    [4.0, 55.6, 5050.5]
    """
    return classes**2 / (1 - 1 / max(2, classes)) / 2


class MeanTeacher(Method):
    """Consistency between the student and the moving average of its weights, which is evaluated."""

    version: ClassVar[int] = 2
    derived: ClassVar[Mapping[str, str]] = {
        "mse": "K^2 / (1 - 1/K) / 2 of K classes: 4, 55.6 and 5050.5 for 2, 10 and 100"
    }
    views = ("again",)
    updates: Tensor  # (), number of updates so far

    def __init__(
        self,
        student: Network,
        data: DatasetInfo,
        criterion: Callable[[], Criterion],
        *,
        mse: NonNegative | None = None,
        kl: NonNegative = 0.0,
        decay: Share = 0.97,
        ramp: Share = 1 / 36,
        consistent: Literal["all", "unreliable"] = "all",
    ) -> None:
        super().__init__()
        self.student = student
        self.model = self.average = copy.deepcopy(student).requires_grad_(False)
        self.criterion = criterion()
        self.register_buffer("updates", torch.tensor(0))
        self.mse = self.resolve("mse", mse, matching_weight(data.classes))
        self.kl, self.decay, self.ramp, self.consistent = kl, decay, ramp, consistent
        self.supports_mixing = consistent == "all"

    def objective(self, batch: Batch) -> Objective:
        student = self.student(batch.images).logits
        with torch.no_grad():
            average = self.average(batch.views[0]).logits
        mask, notes = torch.ones_like(batch.labels, dtype=torch.bool), {}
        if self.consistent == "unreliable":
            mask = average.argmax(dim=1) != batch.labels
            notes["doubted"] = mask.float().mean()
        weight = sigmoid_rampup(batch.clock, self.ramp)
        terms = {"ce": self.criterion(student, batch).mean()}
        if self.mse:
            terms["mse"] = weight * self.mse * (mask * squared_error(average, student)).mean()
        if self.kl:
            terms["kl"] = weight * self.kl * (mask * kl_per_sample(average, student)).mean()
        return Objective(terms, notes)

    def step(self, batch: Batch) -> Iterator[Objective]:
        yield self.objective(batch)
        self.update_average()

    @torch.no_grad()
    def update_average(self) -> None:
        """Update the average with the current parameters of the student."""
        self.updates += 1
        decay = (1 - 1 / (self.updates + 1)).clamp(max=self.decay)
        average: list[Tensor] = list(self.average.parameters())
        student: list[Tensor] = list(self.student.parameters())
        # A fused lerp takes its weight as a Python number, which would synchronise with the device.
        torch._foreach_add_(average, torch._foreach_mul(torch._foreach_sub(student, average), 1 - decay))

    def auxiliary_logits(self, images: Tensor) -> Mapping[str, Tensor]:
        return {"student": self.student(images).logits}
