"""bss: Heo et al., "Knowledge Distillation with Adversarial Samples Supporting Decision Boundary", AAAI 2019, arXiv 1805.05532.

    L = CE(z_s, y) + alpha(e) H(p_t(x), p_s(x)) + beta(e) H(p_t(x~), p_s(x~))
    alpha(e) = 1 + 3 max(0, 1 - e / E),   beta(e) = 2 max(0, 1 - 4 e / (3 E)),   e = 1..E

H is the soft cross entropy at T = 3, without T^2. x~ is x perturbed along the teacher's gradient towards a class k, sampled
with the teacher's probabilities, until the teacher no longer predicts the label. Base samples are those that teacher and
student both classify correctly, at most a quarter of the batch, ranked by how much the two differ on the other classes.

The authors take steps of 0.3 (f_b - f_k + 1e-4) along the unit vector of the gradient of f_b - f_k, which suits the gradients
of CIFAR teachers, of length 1.4. Where they are longer, as on 8x8 digits, such steps jump across the boundary and end far from
it. By default a step is therefore divided by the gradient's length once more: it covers 0.42 = 0.3 * 1.4 of the distance that
remains, and the last step all of it; pixels that would leave [0, 1] do not count in the length. `step=0.3` is the authors'
rule. Of a teacher trained on digits (gradients of 4.5) and one on CIFAR-10N (1.6), the median difference of the two highest
probabilities at x~ is 0.71 and 0.003 with the authors' steps, and 0.0003 and 0.00004 by default (benchmarks/boundary.py). It is
logged as `margin`.

Differs from the authors' code: only gradients with respect to the input are computed; images stay in [0, 1], and steps are in
units of the network's own normalisation; the batch of perturbed images has a fixed size, filled with samples that are excluded
from the loss, so that no step synchronises with the host. These contribute to the student's batch norm like the others.
`statistics` says whether batch norm collects statistics of the perturbed images, as in the code.
`reject=paper` excludes images that do not end in class k, as in the paper but not in the code.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

import torch

from robustkd.attacks.boundary import APPROACH, boundary_weights, find_boundary_samples
from robustkd.criteria.base import Criterion
from robustkd.functional import masked_mean, soft_ce
from robustkd.method import Distiller
from robustkd.models.net import Frozen, Network, freeze_bn_stats
from robustkd.types import Batch, Count, Objective, Positive, Share


class BSS(Distiller):
    """Soft targets on adversarial samples at the teacher's decision boundary."""

    version = 2
    derived: ClassVar[Mapping[str, str]] = {"step": "approach / length of the gradient, for each image"}
    supports_mixing = False  # its base samples are those that are classified as labelled

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
        approach: Share = APPROACH,
        step: Positive | None = None,
        reject: Literal["none", "paper"] = "none",
        statistics: bool = True,
    ) -> None:
        super().__init__(student, teacher, criterion)
        self.random, self.temperature, self.share = random, temperature, share
        self.steps, self.approach, self.step_length = steps, approach, step
        self.strict, self.statistics = reject == "paper", statistics

    def objective(self, batch: Batch) -> Objective:
        student = self.student(batch.images).logits
        with torch.no_grad():
            teacher = self.teacher(batch.images).logits
        alpha, beta = boundary_weights(batch.clock)
        terms = {
            "ce": self.criterion(student, batch).mean(),
            "kd": alpha * soft_ce(teacher, student, self.temperature).mean(),
        }
        if beta == 0:
            return Objective(terms)
        boundary = find_boundary_samples(
            lambda images: self.teacher(images).logits,
            batch,
            teacher,
            student,
            self.random,
            share=self.share,
            unit=self.teacher.net.std,
            steps=self.steps,
            approach=self.approach,
            step=self.step_length,
            strict=self.strict,
        )
        with freeze_bn_stats(self.student, not self.statistics):
            student_boundary = self.student(boundary.images).logits
        terms["boundary"] = beta * masked_mean(
            soft_ce(boundary.logits, student_boundary, self.temperature), boundary.valid
        )
        return Objective(terms, boundary.notes)
