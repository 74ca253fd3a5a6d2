"""crd: Tian, Krishnan and Isola, "Contrastive Representation Distillation", ICLR 2020, arXiv 1910.10699.

    L = CE(z_s, y) + weight (N(s, M_t) + N(t, M_s)) + kd T^2 KL(p_t || p_s)
    N(a, M) = mean_b [ -log h(a_b, M_b) - sum_k log(1 - h(a_b, M_k)) ]
    h(a, v) = q / (q + m / N),   q = exp(a . v / tau) / Z,   that is sigmoid(a . v / tau - log Z - log(m / N))

s and t are the pooled embeddings after a linear map of each net's own that learns, scaled to length 1. M_s and M_t keep
one such vector per training row, with momentum; b is the anchor's own row, k runs over its m negatives. Z is N times the
mean of exp(a . v / tau) over the first batch, and stays. weight 0.8, dimension 128, tau 0.07 and momentum 0.5 are the
authors'; they draw 16384 negatives for each anchor, from the classes that its label is not of.

Departs from their code: one draw of rows, none twice, serves the whole batch, so that a step is a product (B, D) x (D, K),
not a gather of (B, K, D); 4096 rows, or all where there are fewer. No label is asked: with negatives=teacher, rows of which
the teacher last said what it says of the anchor are no negatives, as BRCD (WWW 2024) removes those of the teacher's
cluster; rows not seen yet are. An anchor never meets its own row. m counts the negatives left to an anchor, at least 1.
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


def nce_loss(own: Tensor, others: Tensor, counted: Tensor, log_z: Tensor, samples: int) -> Tensor:
    """N before its mean, where `own` and `others` are a . v / tau: (B,), (B, K), (B, K) bool, scalar -> (B,)."""
    noise = log_z + counted.sum(dim=1).clamp(min=1).log() - math.log(samples)
    return F.softplus(noise - own) + (F.softplus(others - noise[:, None]) * counted).sum(dim=1)


def estimate_log_z(own: Tensor, others: Tensor, counted: Tensor, samples: int) -> Tensor:
    """log Z, of the own rows and the negatives that count: (B,), (B, K), (B, K) bool -> scalar."""
    met = torch.cat([own, others.masked_fill(~counted, -math.inf).flatten()])
    return met.logsumexp(dim=0) - (counted.sum() + len(own)).log() + math.log(samples)


class CRD(Distiller):
    """Each net's embedding of an image is told from noise by the other net's memory of that image."""

    ours: Tensor  # (N, D), M_s
    theirs: Tensor  # (N, D), M_t
    log_z: Tensor  # (2,), of s against M_t and t against M_s; infinite until the first batch
    said: Tensor  # (N,) int64, the teacher's class of each row when last seen; -1 before, and ever with negatives=all

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
        self.random, self.weight, self.apart, self.draws = random, weight, negatives == "teacher", draws
        self.tau, self.momentum, self.kd, self.temperature = tau, momentum, kd, temperature
        sizes = [infer_shapes(net, data.shape).embedding[0] for net in (student, teacher.net)]
        self.embed_s, self.embed_t = (nn.Linear(size, dimension) for size in sizes)
        for name in ("ours", "theirs"):
            self.register_buffer(name, F.normalize(torch.randn(data.samples, dimension)))
        self.register_buffer("log_z", torch.full((2,), math.inf))
        self.register_buffer("said", torch.full((data.samples,), -1))

    def objective(self, batch: Batch) -> Objective:
        student, index = self.student(batch.images), batch.index
        with torch.no_grad():
            teacher = self.teacher(batch.images)
        s, t = F.normalize(self.embed_s(student.embedding)), F.normalize(self.embed_t(teacher.embedding))
        now = teacher.logits.argmax(dim=1)
        rows = torch.randperm(len(self.said), generator=self.random, device=s.device)[: self.draws]
        counted = (rows != index[:, None]) & (self.said[rows] != now[:, None])
        terms = {"ce": self.criterion(student.logits, batch).mean()}
        for which, (name, a, bank) in enumerate((("student", s, self.theirs), ("teacher", t, self.ours))):
            own, others = (a * bank[index]).sum(dim=1) / self.tau, a @ bank[rows].T / self.tau
            first = estimate_log_z(own.detach(), others.detach(), counted, len(bank))  # to look if it is would wait
            self.log_z[which] = torch.where(self.log_z[which].isinf(), first, self.log_z[which])
            terms[name] = self.weight * nce_loss(own, others, counted, self.log_z[which], len(bank)).mean()
        if self.kd:
            terms["kd"] = self.kd * self.temperature**2 * kl(teacher.logits, student.logits, self.temperature)
        for bank, e in ((self.ours, s), (self.theirs, t)):
            bank[index] = F.normalize(torch.lerp(e.detach(), bank[index], self.momentum))
        self.said[index] = now if self.apart else -1
        return Objective(terms, {"removed": 1 - counted.float().mean()})
