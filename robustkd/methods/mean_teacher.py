"""mean_teacher: Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017, arXiv 1703.01780.

    L = CE(z_s, y) + r(e) (mse 1/K ||p_s - p_a||^2 + kl KL(p_a || p_s)),    r(e) = exp(-5 (1 - min(e, R) / R)^2)
    a <- k a + (1 - k) s after each update,    k = min(1 - 1 / (t + 1), decay),    t = 1 after the first

s are the student's parameters and a their average, which begins as the student does, is asked about another augmentation
of the same images, and is not learnt through. The weight rises over the first R = ramp * epochs.

mse 100 is the authors' for CIFAR-10 with all labels; on ImageNet they took kl 10 instead (`mean_teacher(mse=0, kl=10)`).
ramp is their 40,000 of 150,000 updates. Their decay is 0.999 over such lengths, and 0.97, 0.99 and 0.9997 elsewhere in
their code. What counts is how many updates it looks back on, about 1 / (1 - decay): 0.99, theirs while a student still
learns fast, looks back on 100, but 0.999 on more than the 600 of a default study, and would average the whole run. Take
0.999 for runs of tens of thousands of updates.

As in the authors' PyTorch code only parameters are averaged: the average is asked in training mode, so its batch norm goes
by its own batch and its running statistics are gathered by itself. Without their second output for the consistency.

`consistent=unreliable` asks for consistency only where the average does not give the label itself, which is where labels
look wrong; the mean stays over the batch. That is no part of the paper: it is an idea, not the method, taken from dual
knowledge distillation for translation (Computer Speech and Language 2024, read from the abstract). Labels are then used
beside the criterion.
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
    """1/K ||p_t - p_s||^2 per sample: (B, K), (B, K) -> (B,)."""
    return (F.softmax(target, dim=1) - F.softmax(logits, dim=1)).square().mean(dim=1)


class MeanTeacher(Method):
    """A student that agrees with the average of what it has been."""

    views = ("again",)
    updates: Tensor  # (), how many there have been

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

    def objective(self, batch: Batch) -> Objective:
        student = self.model(batch.images).logits
        with torch.no_grad():
            average = self.average(batch.views[0]).logits
        counted, notes = torch.ones_like(batch.labels, dtype=torch.bool), {}
        if self.consistent == "unreliable":
            counted = average.argmax(dim=1) != batch.labels
            notes["doubted"] = counted.float().mean()
        risen = sigmoid_rampup(batch.clock, self.ramp)
        terms = {"ce": self.criterion(student, batch).mean()}
        if self.mse:
            terms["mse"] = risen * self.mse * (counted * squared_error(average, student)).mean()
        if self.kl:
            terms["kl"] = risen * self.kl * (counted * kl_per_sample(average, student)).mean()
        return Objective(terms, notes)

    def step(self, batch: Batch) -> Iterator[Objective]:
        yield self.objective(batch)
        self.follow()

    @torch.no_grad()
    def follow(self) -> None:
        """Take the student as it now is into the average."""
        self.updates += 1
        kept = (1 - 1 / (self.updates + 1)).clamp(max=self.decay)
        average: list[Tensor] = list(self.average.parameters())
        student: list[Tensor] = list(self.model.parameters())
        # A fused lerp wants its weight as a number, and the device would have to be waited for.
        torch._foreach_add_(average, torch._foreach_mul(torch._foreach_sub(student, average), 1 - kept))

    def auxiliary_logits(self, images: Tensor) -> Mapping[str, Tensor]:
        return {"average": self.average(images).logits}
