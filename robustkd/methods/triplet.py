"""triplet: Oki, Abe, Miyao and Kurita, "Triplet Loss for Knowledge Distillation", IJCNN 2020, arXiv 2004.08116.

    L = CE(z_s, y) + weight mean_i max(0, ||z_t(x_i) - z_s(x_i)|| - ||z_t(x_i) - z_s(x_j)|| + margin) + kd KL(p_t || p_s)

The teacher's logits are the anchor, the student's for the same image the positive, and the student's for an image x_j of
another class the negative. weight 2 and margin 5 are those of the code of one of the authors, whose first version has no KL
and whose later one has kd = 1 at T = 1.

Differs from that code: x_j is sampled from the batch, not from the whole data set; a sample without another class in its batch
has no triplet. `negatives=teacher` uses the teacher's predictions instead of the labels, so that under label noise images are
not pushed away only because of a wrong label. It adapts the removal of false negatives by teacher cluster that Wang et al.
use in hashing ("Bit-mask Robust Contrastive Knowledge Distillation", WWW 2024).
"""

from collections.abc import Callable
from typing import Literal

import torch

from robustkd.criteria.base import Criterion
from robustkd.functional import kl, masked_mean, sample_valid_columns, triplet_loss
from robustkd.method import Distiller
from robustkd.models.net import Frozen, Network
from robustkd.types import Batch, NonNegative, Objective


class Triplet(Distiller):
    """Triplet loss on logits, with the teacher's as the anchor and the student's for other classes as negatives."""

    def __init__(
        self,
        student: Network,
        teacher: Frozen,
        criterion: Callable[[], Criterion],
        random: torch.Generator,
        *,
        weight: NonNegative = 2.0,
        margin: NonNegative = 5.0,
        negatives: Literal["label", "teacher"] = "label",
        kd: NonNegative = 0.0,
    ) -> None:
        super().__init__(student, teacher, criterion)
        self.random, self.weight, self.margin, self.negatives, self.kd = random, weight, margin, negatives, kd
        self.supports_mixing = negatives == "teacher"

    def objective(self, batch: Batch) -> Objective:
        student = self.student(batch.images).logits
        with torch.no_grad():
            teacher = self.teacher(batch.images).logits
        terms = {"ce": self.criterion(student, batch).mean()}
        classes = batch.labels if self.negatives == "label" else teacher.argmax(dim=1)
        negative, has_negative = sample_valid_columns(classes[:, None] != classes, self.random)
        loss = triplet_loss(teacher, student, student[negative], self.margin)
        terms["triplet"] = self.weight * masked_mean(loss, has_negative)
        if self.kd:
            terms["kd"] = self.kd * kl(teacher, student)
        return Objective(terms, {"active": masked_mean((loss > 0).float(), has_negative)})
