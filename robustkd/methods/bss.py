"""bss: Heo et al., "Knowledge Distillation with Adversarial Samples Supporting Decision Boundary", AAAI 2019, arXiv 1805.05532.

    L = CE(z_s, y) + alpha(e) H(p_t(x), p_s(x)) + beta(e) H(p_t(x~), p_s(x~))
    alpha(e) = 1 + 3 max(0, 1 - e / E),   beta(e) = 2 max(0, 1 - 4 e / (3 E)),   e = 1..E

H is the soft cross entropy at T = 3, without T^2. x~ is x walked by the teacher's gradient towards a class k drawn with
the teacher's probabilities, until the teacher leaves the label. Base samples are those that teacher and student both
get right, at most a quarter of the batch, those first on which the two differ most about the other classes.

Departs from the authors' code: gradients are taken by the input alone; images stay in [0, 1], its steps of 0.3 are in
units of the net's own normalisation; the batch of walked images always has its full size, filled up with samples that count
for nothing, so that no step waits for the host: in the student's batch norm they count like the others. `reject=paper`
leaves out what did not come to k, as the paper says and the code does not.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from robustkd.attacks import towards
from robustkd.criteria.base import Criterion
from robustkd.method import Distiller
from robustkd.models.net import Frozen, Network
from robustkd.records import Batch, Objective
from robustkd.words import Count, Positive, Share


def soft_ce(target: Tensor, logits: Tensor, temperature: float) -> Tensor:
    """-sum_c p_t,c log p_s,c of softened logits, per sample: (B, K), (B, K) -> (B,)."""
    return -(F.softmax(target / temperature, dim=1) * F.log_softmax(logits / temperature, dim=1)).sum(dim=1)


def candidates(teacher: Tensor, student: Tensor, labels: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The rows to walk from, and which of them count: (B, K), (B, K), (B,) -> (most,), (most,) bool."""
    right = (teacher.argmax(dim=1) == labels) & (student.argmax(dim=1) == labels)
    apart = (teacher.softmax(dim=1) - student.softmax(dim=1)).square()
    score = apart.scatter(1, labels[:, None], 0.0).sum(dim=1).masked_fill(~right, -1.0)
    best = score.topk(most)
    return best.indices, best.values >= 0


def drawn_targets(teacher: Tensor, random: torch.Generator) -> Tensor:
    """A class for each sample but the teacher's first, drawn with the teacher's probabilities: (N, K) -> (N,)."""
    first, second = teacher.topk(2, dim=1).indices.T
    chances = teacher.softmax(dim=1).scatter(1, first[:, None], 0.0)
    # Where the teacher is so sure that nothing is left, the second-ranked class is taken.
    chances = chances + F.one_hot(second, teacher.shape[1]) * 1e-30
    return torch.multinomial(chances, 1, generator=random)[:, 0]


class BSS(Distiller):
    """The student agrees with the teacher where the teacher's mind changes."""

    def __init__(
        self,
        student: Network,
        teacher: Frozen,
        criterion: Callable[[], Criterion],
        random: torch.Generator,
        *,
        temperature: Positive = 3.0,
        share: Share = 0.25,
        steps: Count = 10,
        step: Positive = 0.3,
        reject: Literal["none", "paper"] = "none",
    ) -> None:
        super().__init__(student, teacher, criterion)
        self.random, self.temperature = random, temperature
        self.share, self.steps, self.step_length, self.reject = share, steps, step, reject

    def objective(self, batch: Batch) -> Objective:
        student = self.student(batch.images).logits
        with torch.no_grad():
            teacher = self.teacher(batch.images).logits
        done = (batch.clock.epoch + 1) / batch.clock.epochs
        alpha, beta = 1 + 3 * max(0.0, 1 - done), 2 * max(0.0, 1 - 4 / 3 * done)
        terms = {
            "ce": self.criterion(student, batch).mean(),
            "kd": alpha * soft_ce(teacher, student, self.temperature).mean(),
        }
        if beta == 0:
            return Objective(terms)
        rows, counted = candidates(teacher, student, batch.labels, max(1, int(self.share * len(batch.labels))))
        base, target = batch.labels[rows], drawn_targets(teacher[rows], self.random)
        walked = towards(
            lambda images: self.teacher(images).logits,
            batch.images[rows],
            base,
            target,
            unit=self.teacher.net.std,
            steps=self.steps,
            step=self.step_length,
        )
        if self.reject == "paper":
            counted = counted & walked.crossed
        with torch.no_grad():
            there = self.teacher(walked.images).logits
        boundary = soft_ce(there, self.student(walked.images).logits, self.temperature)
        count = counted.sum().clamp(min=1)
        terms["boundary"] = beta * (boundary * counted).sum() / count
        notes = {"candidates": counted.float().mean()}
        notes |= {
            "crossed": (walked.crossed & counted).sum() / count,
            "astray": (walked.astray & counted).sum() / count,
        }
        return Objective(terms, notes)
