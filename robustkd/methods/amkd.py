"""amkd, amkd_annealed, amkd_bss: "Adversarial Metric Knowledge Distillation".

    L = CE(z_s, y) + alpha(e) H(p_t(x), p_s(x)) + boundary H(p_t(x~), p_s(x~)) + weight L_tri
    L_tri = 1/B sum max(0, ||a - p|| - ||a - n|| + margin), over the x~ of a batch of B

Based on the abstract, which contains no equations or numbers. What it says, and the part of the loss that answers it:

* Knowledge of the decision boundary is transferred as well as distances kept: the soft targets at x~ (`boundary`) and the
  triplet (`weight`) are both on.
* Samples close to the decision boundary of two classes are selected: of the perturbed images, only those are x~ for which the
  teacher's two most probable classes are the intended two, and differ by at most `max_margin` (0.1: 55 against 45 %).
* The student always keeps a suitable distance to samples of other, negative classes: the triplet has a constant weight, and its
  margin is the teacher's own distance, so that it applies until the student's distance has reached that of the teacher.

Everything else is our interpretation. x~ is an image perturbed from its class b towards a class k, as in bss (arXiv
1805.05532), which also gives alpha. x- is an image of the same batch for which the teacher predicts neither of these two
classes nor the class it predicts for x~. Negatives always follow the teacher's predictions, because a method may not know which
labels are wrong. The triplet depends on `reading`:

    I1    a = z_t(x~)   p = z_s(x~)   n = z_s(x-)    as in the triplet loss for distillation (arXiv 2004.08116)
    I2    a = z_s(x~)   p = z_t(x~)   n = z_t(x-)    only the student's anchor moves; the teacher's points are fixed
    I3    a = z_s(x~)   p = z_s(x)    n = z_s(x-)    the student alone, relative to its own images

The margin is ||a' - n'|| - ||a' - p'||, where a', p' and n' are the teacher's points of the same three images (a' = p' in I1
and I2). A number instead, such as the 5 of the code of the triplet loss, hides the scale of the logits: once the classes are
farther apart, the triplet no longer applies. The share of x~ for which it does is logged as `active`: on digits with noise0.4,
all in the first epoch and at least 96 % in the last ones. `space` is where distances are computed: `logits`; `unit`, logits
scaled to length 1; `embedding`, the pooled features scaled to length 1, the student's after a learned projection. Vectors of
length 1 are at most 2 apart, and a margin given for them is below 2. Batch norm collects no statistics of x~.

amkd_annealed is the former default: the triplet alone (boundary 0) with a margin of 5, on every perturbed image (reject none),
with the authors' step of bss and the weight beta(e) of bss, which is zero in the last quarter of training. amkd_bss adds the
soft targets at the boundary to it (boundary 1), with steps that follow the gradient.

L_tri is divided by the batch size, not by the number of x~. The gradient of a distance does not depend on its size. With few
candidates, as under label noise, a mean over them would give each a gradient dozens of times that of a label, and the
student would learn nothing else (observed on digits: the training loss stays near that of guessing).
"""

from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustkd.attacks.boundary import APPROACH, BoundarySamples, boundary_weights, find_boundary_samples
from robustkd.criteria.base import Criterion
from robustkd.errors import UsageError
from robustkd.functional import masked_mean, sample_valid_columns, soft_ce, triplet_loss
from robustkd.method import Distiller
from robustkd.models.net import Frozen, Network, freeze_bn_stats, infer_shapes
from robustkd.types import Batch, Count, DatasetInfo, NonNegative, Objective, Output, Positive, Share


def negative_mask(classes: Tensor, *excluded: Tensor) -> Tensor:
    """Return which samples of a batch are in none of the given classes of each of M images: (B,), (M,) each -> (M, B) bool."""
    return torch.stack([classes != c[:, None] for c in excluded]).all(dim=0)


def select_negatives(
    distance: Tensor, to_positive: Tensor, valid: Tensor, strategy: str, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Select a negative for each anchor; also return whether it has one: (M,), (M,) bool.

    Args:
        distance: (M, B), from each anchor to each sample.
        to_positive: (M,), from each anchor to its positive.
        valid: (M, B) bool, whether a sample is a negative.
        strategy: `random`, uniformly; `hardest`, the nearest; `semihard`, the nearest that is farther than the positive, or
            the farthest if there is none.
    """
    if strategy == "random":
        return sample_valid_columns(valid, random)
    nearest = distance.masked_fill(~valid, torch.inf).argmin(dim=1)
    if strategy == "semihard":
        farther = valid & (distance > to_positive[:, None])
        farthest = distance.masked_fill(~valid, -1.0).argmax(dim=1)
        semihard = distance.masked_fill(~farther, torch.inf).argmin(dim=1)
        nearest = torch.where(farther.any(dim=1), semihard, farthest)
    return nearest, valid.any(dim=1)


class AMKD(Distiller):
    """Soft targets and a triplet loss on boundary samples: near the teacher's logits, far from samples of other classes."""

    version = 2
    derived: ClassVar[Mapping[str, str]] = {
        "margin": "the teacher's distance, for each triplet",
        "step": "approach / length of the gradient, for each image",
    }
    supports_mixing = False  # its base samples are those that are classified as labelled

    def __init__(
        self,
        student: Network,
        teacher: Frozen,
        data: DatasetInfo,
        criterion: Callable[[], Criterion],
        random: torch.Generator,
        *,
        weight: NonNegative = 1.0,
        boundary: NonNegative = 1.0,
        margin: Positive | None = None,
        reading: Literal["I1", "I2", "I3"] = "I1",
        space: Literal["logits", "unit", "embedding"] = "logits",
        negatives: Literal["random", "hardest", "semihard"] = "random",
        temperature: Positive = 3.0,
        share: Share = 0.25,
        steps: Count = 10,
        approach: Share = APPROACH,
        step: Positive | None = None,
        reject: Literal["distant", "paper", "none"] = "distant",
        max_margin: Share = 0.1,
        annealed: bool = False,
    ) -> None:
        super().__init__(student, teacher, criterion)
        if space != "logits" and margin is not None and margin >= 2:
            raise UsageError(
                f"amkd: margin is {margin:g} but should be below 2 with space={space}, such as margin=0.5, because vectors of "
                "length 1 are at most 2 apart"
            )
        if data.classes < 3:
            raise UsageError(f"amkd needs at least 3 classes, but the data set has {data.classes}")
        self.random, self.weight, self.boundary, self.margin = random, weight, boundary, margin
        self.reading, self.space, self.negatives, self.temperature = reading, space, negatives, temperature
        self.share, self.steps, self.approach, self.step_length = share, steps, approach, step
        self.strict, self.max_margin = reject == "paper", max_margin if reject == "distant" else None
        self.annealed = annealed
        if space == "embedding":
            width_s, width_t = (infer_shapes(net, data.shape).embedding[0] for net in (student, teacher.net))
            self.projection = nn.Linear(width_s, width_t)

    def objective(self, batch: Batch) -> Objective:
        student = self.student(batch.images)
        with torch.no_grad():
            teacher = self.teacher(batch.images)
        alpha, beta = boundary_weights(batch.clock)
        beta = beta if self.annealed else 1.0
        terms = {
            "ce": self.criterion(student.logits, batch).mean(),
            "kd": alpha * soft_ce(teacher.logits, student.logits, self.temperature).mean(),
        }
        if beta == 0:
            return Objective(terms)
        boundary = find_boundary_samples(
            lambda images: self.teacher(images).logits,
            batch,
            teacher.logits,
            student.logits,
            self.random,
            share=self.share,
            unit=self.teacher.net.std,
            steps=self.steps,
            approach=self.approach,
            step=self.step_length,
            strict=self.strict,
            max_margin=self.max_margin,
        )
        with freeze_bn_stats(self.student):
            student_boundary = self.student(boundary.images)
        if self.boundary:
            agreement = soft_ce(boundary.logits, student_boundary.logits, self.temperature)
            terms["boundary"] = beta * self.boundary * masked_mean(agreement, boundary.valid)
        loss, valid = self.triplet_losses(student, teacher, student_boundary, boundary)
        terms["triplet"] = beta * self.weight * (loss * valid).sum() / len(batch.labels)
        return Objective(terms, {**boundary.notes, "active": masked_mean((loss > 0).float(), valid)})

    def triplet_losses(
        self, student: Output, teacher: Output, student_boundary: Output, boundary: BoundarySamples
    ) -> tuple[Tensor, Tensor]:
        """Compute the triplet loss of each boundary sample, and whether it is valid: (M,), (M,) bool."""
        s, s_boundary = self.project(student), self.project(student_boundary)
        with torch.no_grad():
            t = self.project(teacher, learned=False)
            # The attack has computed the teacher's logits of these images, but not the embedding.
            teacher_boundary = (
                self.teacher(boundary.images)
                if self.space == "embedding"
                else Output(boundary.logits, boundary.logits, ())
            )
            t_boundary = self.project(teacher_boundary, learned=False)
        anchor, positive, pool = {
            "I1": (t_boundary, s_boundary, s),
            "I2": (s_boundary, t_boundary, t),
            "I3": (s_boundary, s[boundary.rows], s),
        }[self.reading]
        mask = negative_mask(
            teacher.logits.argmax(dim=1), boundary.base, boundary.target, boundary.logits.argmax(dim=1)
        )
        with torch.no_grad():
            distance, to_positive = torch.cdist(anchor, pool), (anchor - positive).norm(dim=1)
        negative, has_negative = select_negatives(distance, to_positive, mask, self.negatives, self.random)
        margin = self.margin
        if margin is None:
            teacher_positive = t[boundary.rows] if self.reading == "I3" else t_boundary
            margin = (t_boundary - t[negative]).norm(dim=1) - (t_boundary - teacher_positive).norm(dim=1)
        return triplet_loss(anchor, positive, pool[negative], margin), boundary.valid & has_negative

    def project(self, output: Output, learned: bool = True) -> Tensor:
        """Map an output to the space in which distances are computed, by the learned projection if asked: (N, D)."""
        if self.space == "logits":
            return output.logits
        if self.space == "unit":
            return F.normalize(output.logits)
        return F.normalize(self.projection(output.embedding) if learned else output.embedding)
