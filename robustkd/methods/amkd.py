"""amkd, amkd_bss: "Adversarial Metric Knowledge Distillation".

    L = CE(z_s, y) + alpha(e) H(p_t(x), p_s(x)) + beta(e) [boundary H(p_t(x~), p_s(x~)) + weight L_tri]
    L_tri = 1/B sum max(0, ||a - p|| - ||a - n|| + margin), over the x~ of a batch of B

Read from the abstract, which has no equation and no number: adversarial samples close to the boundary of two classes, a
triplet constraint on their distance to samples of negative classes, boundary information passed on and a proper distance
kept from the other classes. All else here is our reading of it.

x~ is an image walked from its class b towards a class k, chosen, drawn, walked and weighted by alpha and beta as bss does it
(arXiv 1805.05532). x- is an image of the same batch that the teacher gives neither of the two, nor the class it gives x~:
all three are rightful neighbours of x~, and under label noise most walks end in a third class. It goes by the teacher's
classes, always, because a method may not know whether labels are wrong. By `reading`,

    I1    a = z_t(x~)   p = z_s(x~)   n = z_s(x-)    as in the triplet loss for distillation (arXiv 2004.08116)
    I2    a = z_s(x~)   p = z_t(x~)   n = z_t(x-)    the student's answer moves, the teacher's places are given
    I3    a = z_s(x~)   p = z_s(x)    n = z_s(x-)    the student alone, around its own images

`space` is where distances are taken: `logits`; `unit`, logits scaled to length 1; `embedding`, the pooled features scaled to
length 1, the student's through a learned projection. A margin of 5 (the triplet loss's code) is for logits; vectors of
length 1 are at most 2 apart and want 0.2 to 1. amkd puts the triplet in the place of the soft targets at the boundary
(boundary 0), which the abstract sets itself against; amkd_bss keeps both (boundary 1). Batch norm keeps no statistics of x~.

L_tri is divided by the batch, not by its x~: a distance pulls as hard when it is small as when it is large, and where few
samples are candidates, as under label noise, a mean over those few lets each pull dozens of times as hard as a label, and
the student learns nothing else (tried on digits: its training loss stays near that of guessing).
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustkd.attacks.boundary import BoundarySamples, boundary_weights, find_boundary_samples
from robustkd.criteria.base import Criterion
from robustkd.errors import UsageError
from robustkd.functional import masked_mean, sample_valid_columns, soft_ce, triplet_loss
from robustkd.method import Distiller
from robustkd.models.net import Frozen, Network, freeze_bn_stats, infer_shapes
from robustkd.types import Batch, Count, DatasetInfo, NonNegative, Objective, Output, Positive, Share


def negative_mask(classes: Tensor, *near: Tensor) -> Tensor:
    """Which samples of a batch are of none of the classes near each of M images: (B,), (M,) each -> (M, B) bool."""
    return torch.stack([classes != c[:, None] for c in near]).all(dim=0)


def select_negatives(
    distance: Tensor, near: Tensor, valid: Tensor, how: str, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A negative for each anchor, and whether there is any.

    Args:
        distance: (M, B), from each anchor to each sample.
        near: (M,), from each anchor to its positive.
        valid: (M, B) bool, whether a sample is a negative.
        how: `random`, evenly; `hardest`, the nearest; `semihard`, the nearest beyond the positive, or else the farthest.
    """
    if how == "random":
        return sample_valid_columns(valid, random)
    nearest = distance.masked_fill(~valid, torch.inf).argmin(dim=1)
    if how == "semihard":
        beyond = valid & (distance > near[:, None])
        farthest = distance.masked_fill(~valid, -1.0).argmax(dim=1)
        outside = distance.masked_fill(~beyond, torch.inf).argmin(dim=1)
        nearest = torch.where(beyond.any(dim=1), outside, farthest)
    return nearest, valid.any(dim=1)


class AMKD(Distiller):
    """At the teacher's boundary the student answers like the teacher, and unlike what it says of other classes."""

    def __init__(
        self,
        student: Network,
        teacher: Frozen,
        data: DatasetInfo,
        criterion: Callable[[], Criterion],
        random: torch.Generator,
        *,
        weight: NonNegative = 1.0,
        boundary: NonNegative = 0.0,
        margin: Positive = 5.0,
        reading: Literal["I1", "I2", "I3"] = "I1",
        space: Literal["logits", "unit", "embedding"] = "logits",
        negatives: Literal["random", "hardest", "semihard"] = "random",
        temperature: Positive = 3.0,
        share: Share = 0.25,
        steps: Count = 10,
        step: Positive = 0.3,
        reject: Literal["none", "paper"] = "none",
    ) -> None:
        super().__init__(student, teacher, criterion)
        if space != "logits" and margin >= 2:
            raise UsageError(
                f"amkd: in space={space} vectors have length 1 and are at most 2 apart, so a margin of {margin:g} is never "
                "kept; it should be below 2, such as margin=0.5"
            )
        if data.classes < 3:
            raise UsageError(f"amkd: a third class is needed to keep away from, and the data has {data.classes}")
        self.random, self.weight, self.boundary, self.margin = random, weight, boundary, margin
        self.reading, self.space, self.negatives, self.temperature = reading, space, negatives, temperature
        self.share, self.steps, self.step_length, self.strict = share, steps, step, reject == "paper"
        if space == "embedding":
            ours, theirs = (infer_shapes(net, data.shape).embedding[0] for net in (student, teacher.net))
            self.projection = nn.Linear(ours, theirs)

    def objective(self, batch: Batch) -> Objective:
        student = self.student(batch.images)
        with torch.no_grad():
            teacher = self.teacher(batch.images)
        alpha, beta = boundary_weights(batch.clock)
        terms = {
            "ce": self.criterion(student.logits, batch).mean(),
            "kd": alpha * soft_ce(teacher.logits, student.logits, self.temperature).mean(),
        }
        if beta == 0:
            return Objective(terms)
        near = find_boundary_samples(
            lambda images: self.teacher(images).logits,
            batch,
            teacher.logits,
            student.logits,
            self.random,
            share=self.share,
            unit=self.teacher.net.std,
            steps=self.steps,
            step=self.step_length,
            strict=self.strict,
        )
        with freeze_bn_stats(self.student):
            there = self.student(near.images)
        if self.boundary:
            agreed = soft_ce(near.logits, there.logits, self.temperature)
            terms["boundary"] = beta * self.boundary * masked_mean(agreed, near.valid)
        loss, counted = self.metric(student, teacher, there, near)
        terms["triplet"] = beta * self.weight * (loss * counted).sum() / len(batch.labels)
        return Objective(terms, {**near.notes, "active": masked_mean((loss > 0).float(), counted)})

    def metric(self, student: Output, teacher: Output, there: Output, near: BoundarySamples) -> tuple[Tensor, Tensor]:
        """The triplet loss of each supporting sample, and which of them count: (M,), (M,) bool."""
        ours, ours_there = self.placed(student), self.placed(there)
        with torch.no_grad():
            theirs = self.placed(teacher, project=False)
            # The walk has asked the teacher for its logits there, but not for its embedding.
            walked = self.teacher(near.images) if self.space == "embedding" else Output(near.logits, near.logits, ())
            theirs_there = self.placed(walked, project=False)
        anchor, positive, pool = {
            "I1": (theirs_there, ours_there, ours),
            "I2": (ours_there, theirs_there, theirs),
            "I3": (ours_there, ours[near.rows], ours),
        }[self.reading]
        valid = negative_mask(teacher.logits.argmax(dim=1), near.base, near.target, near.logits.argmax(dim=1))
        with torch.no_grad():
            distance, to_positive = torch.cdist(anchor, pool), (anchor - positive).norm(dim=1)
        negative, any_other = select_negatives(distance, to_positive, valid, self.negatives, self.random)
        return triplet_loss(anchor, positive, pool[negative], self.margin), near.valid & any_other

    def placed(self, output: Output, project: bool = True) -> Tensor:
        """Where an answer lies in the space in which distances are taken: (N, D)."""
        if self.space == "logits":
            return output.logits
        if self.space == "unit":
            return F.normalize(output.logits)
        return F.normalize(self.projection(output.embedding) if project else output.embedding)
