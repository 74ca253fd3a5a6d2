"""mean_teacher: Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017, arXiv 1703.01780.

    L = CE(z_s, y) + r(e) (mse 1/K ||p_s - p_a||^2 + kl KL(p_a || p_s)),    r(e) = exp(-5 (1 - min(e, R) / R)^2)
    a <- k a + (1 - k) s after each update,    k = min(1 - 1 / (t + 1), decay),    t = 1 after the first

s are the student's parameters and a their moving average, which starts as a copy of the student, processes another
augmentation of the same images, and receives no gradient. The weight rises over the first R = ramp * epochs.

mse 100 is the authors' for CIFAR-10 with all labels; on ImageNet they used kl 10 instead (`mean_teacher(mse=0, kl=10)`).
ramp is their 40,000 of 150,000 updates. Their decay is 0.999 for such lengths, and 0.97, 0.99 and 0.9997 elsewhere in their
code. It averages over about 1 / (1 - decay) updates: 0.99, theirs while a student still learns fast, over 100, but 0.999 over
more than the 600 of a default study, that is over the whole run. Use 0.999 for runs of tens of thousands of updates.

As in the authors' PyTorch code, only parameters are averaged: the average runs in training mode, so its batch norm uses the
statistics of its own batch and collects its own running statistics. Their second output for the consistency is not used.

`consistent=unreliable` applies the consistency only to samples for which the average does not predict the label, where
labels are likely to be wrong; the mean is still over the batch. This is not part of the paper: the idea, not the method, is
taken from dual knowledge distillation for translation (Computer Speech and Language 2024, based on the abstract). Labels are
then used outside the criterion.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from robustkd.criteria.base import Criterion
from robustkd.functional import kl_per_sample, sigmoid_rampup
from robustkd.method import Method
from robustkd.models.net import Network
from robustkd.types import Batch, NonNegative, Objective, Share


def squared_error(target: Tensor, logits: Tensor) -> Tensor:
    """Compute 1/K ||p_t - p_s||^2 for each sample: (B, K), (B, K) -> (B,)."""
    return (F.softmax(target, dim=1) - F.softmax(logits, dim=1)).square().mean(dim=1)


class MeanTeacher(Method):
    """Consistency between the student and the moving average of its weights."""

    views = ("again",)
    updates: Tensor  # (), number of updates so far

    def __init__(
        self,
        student: Network,
        criterion: Callable[[], Criterion],
        *,
        mse: NonNegative = 100.0,
        kl: NonNegative = 0.0,
        decay: Share = 0.99,
        ramp: Share = 4 / 15,
        consistent: Literal["all", "unreliable"] = "all",
    ) -> None:
        super().__init__()
        self.model = student
        self.average = copy.deepcopy(student).requires_grad_(False)
        self.criterion = criterion()
        self.register_buffer("updates", torch.tensor(0))
        self.mse, self.kl, self.decay, self.ramp, self.consistent = mse, kl, decay, ramp, consistent
        self.supports_mixing = consistent == "all"

    def objective(self, batch: Batch) -> Objective:
        student = self.model(batch.images).logits
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
        student: list[Tensor] = list(self.model.parameters())
        # A fused lerp takes its weight as a Python number, which would synchronise with the device.
        torch._foreach_add_(average, torch._foreach_mul(torch._foreach_sub(student, average), 1 - decay))

    def auxiliary_logits(self, images: Tensor) -> Mapping[str, Tensor]:
        return {"average": self.average(images).logits}
