"""crd: Tian, Krishnan and Isola, "Contrastive Representation Distillation", ICLR 2020, arXiv 1910.10699.

    L = CE(z_s, y) + weight (N(s, M_t) + N(t, M_s)) + kd T^2 KL(p_t || p_s)
    N(a, M) = mean_b [ -log h(a_b, M_b) - sum_k log(1 - h(a_b, M_k)) ]
    h(a, v) = q / (q + m / N),   q = exp(a . v / tau) / Z,   that is sigmoid(a . v / tau - log Z - log(m / N))

s and t are the pooled embeddings after a learned linear map of each network, scaled to length 1. The memory banks M_s and
M_t hold one such vector per training row, updated with momentum; b is the anchor's own row, k runs over its m negatives. Z is
N times the mean of exp(a . v / tau) over the first batch, fixed afterwards. weight 0.8, dimension 128, tau 0.07 and momentum
0.5 are the authors'; they draw 16384 negatives per anchor from the classes other than its label.

Differs from their code: one sample of rows without replacement is shared by the whole batch, so that a step is a product
(B, D) x (D, K), not a gather of (B, K, D); 4096 rows, or all if there are fewer. Labels are not used: with
negatives=teacher, rows for which the teacher last predicted the anchor's class are excluded, similar to BRCD (WWW 2024),
which removes those of the teacher's cluster; rows not yet seen are kept. An anchor is never paired with its own row as a
negative. m is the number of negatives left for an anchor, at least 1.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustkd.criteria.base import Criterion
from robustkd.functional import kl
from robustkd.method import Distiller
from robustkd.models.net import Frozen, Network, infer_shapes
from robustkd.types import Batch, Count, DatasetInfo, NonNegative, Objective, Positive, Share


def nce_loss(own: Tensor, others: Tensor, valid: Tensor, log_z: Tensor, samples: int) -> Tensor:
    """Compute N of each anchor, given the scores a . v / tau: (B,), (B, K), (B, K) bool, scalar -> (B,)."""
    noise = log_z + valid.sum(dim=1).clamp(min=1).log() - math.log(samples)
    return F.softplus(noise - own) + (F.softplus(others - noise[:, None]) * valid).sum(dim=1)


def estimate_log_z(own: Tensor, others: Tensor, valid: Tensor, samples: int) -> Tensor:
    """Estimate log Z from the own rows and the valid negatives: (B,), (B, K), (B, K) bool -> scalar."""
    scores = torch.cat([own, others.masked_fill(~valid, -math.inf).flatten()])
    return scores.logsumexp(dim=0) - (valid.sum() + len(own)).log() + math.log(samples)


class CRD(Distiller):
    """Contrastive loss between each network's embeddings and the memory bank of the other."""

    supports_mixing = False  # a memory for each row

    student_bank: Tensor  # (N, D), M_s
    teacher_bank: Tensor  # (N, D), M_t
    log_z: Tensor  # (2,), of s against M_t and t against M_s; infinite until the first batch
    teacher_classes: (
        Tensor  # (N,) int64, last prediction for each row; -1 before the first, and always with negatives=all
    )

    def __init__(
        self,
        student: Network,
        teacher: Frozen,
        data: DatasetInfo,
        criterion: Callable[[], Criterion],
        random: torch.Generator,
        *,
        weight: NonNegative = 0.8,
        negatives: Literal["all", "teacher"] = "teacher",
        draws: Count = 4096,
        tau: Positive = 0.07,
        dimension: Count = 128,
        momentum: Share = 0.5,
        kd: NonNegative = 0.0,
        temperature: Positive = 4.0,
    ) -> None:
        super().__init__(student, teacher, criterion)
        self.random, self.weight, self.by_teacher, self.draws = random, weight, negatives == "teacher", draws
        self.tau, self.momentum, self.kd, self.temperature = tau, momentum, kd, temperature
        widths = [infer_shapes(net, data.shape).embedding[0] for net in (student, teacher.net)]
        self.embed_s, self.embed_t = (nn.Linear(width, dimension) for width in widths)
        for name in ("student_bank", "teacher_bank"):
            self.register_buffer(name, F.normalize(torch.randn(data.samples, dimension)))
        self.register_buffer("log_z", torch.full((2,), math.inf))
        self.register_buffer("teacher_classes", torch.full((data.samples,), -1))

    def objective(self, batch: Batch) -> Objective:
        student, index = self.student(batch.images), batch.index
        with torch.no_grad():
            teacher = self.teacher(batch.images)
        s, t = F.normalize(self.embed_s(student.embedding)), F.normalize(self.embed_t(teacher.embedding))
        classes = teacher.logits.argmax(dim=1)
        rows = torch.randperm(len(self.teacher_classes), generator=self.random, device=s.device)[: self.draws]
        valid = (rows != index[:, None]) & (self.teacher_classes[rows] != classes[:, None])
        terms = {"ce": self.criterion(student.logits, batch).mean()}
        for i, (name, a, bank) in enumerate((("student", s, self.teacher_bank), ("teacher", t, self.student_bank))):
            own, others = (a * bank[index]).sum(dim=1) / self.tau, a @ bank[rows].T / self.tau
            # Computed in every step: to test whether this is the first would synchronise with the device.
            log_z = estimate_log_z(own.detach(), others.detach(), valid, len(bank))
            self.log_z[i] = torch.where(self.log_z[i].isinf(), log_z, self.log_z[i])
            terms[name] = self.weight * nce_loss(own, others, valid, self.log_z[i], len(bank)).mean()
        if self.kd:
            terms["kd"] = self.kd * self.temperature**2 * kl(teacher.logits, student.logits, self.temperature)
        for bank, e in ((self.student_bank, s), (self.teacher_bank, t)):
            bank[index] = F.normalize(torch.lerp(e.detach(), bank[index], self.momentum))
        self.teacher_classes[index] = classes if self.by_teacher else -1
        return Objective(terms, {"removed": 1 - valid.float().mean()})
