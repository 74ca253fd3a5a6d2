"""mffkd: Li et al., "Multistage feature fusion knowledge distillation", Scientific Reports 14, 2024.

    L = CE(z_s, y) + weight sum_l N(s_l, t_l) + kd T^2 KL(p_t || p_s)
    N(s, t) = mean_i -log( exp(u(s_i) . u(t_i) / tau) / sum_j exp(u(s_i) . u(t_j) / tau) ),   u(v_i) = c_i / ||c_i||
    P_l = J_l F_l + up(P_l+1),   Q_l = P_l (1 + sigmoid(A_l mean P_l)),   R_l = Q_l (1 + sigmoid(B_l Q_l)),   s_l = C_l mean R_l

Read from the abstract (doi 10.1038/s41598-024-64041-4): it names a symmetric fusion across stages in both nets, attention to
the fused features and a contrastive loss between teacher and student at the same stage. The equations are ours. F_l is the
map after stage l; from the top down it takes in what is above it, in a common width, and a gate weighs its channels, then
another its places. J and B are 1x1 convolutions, A and C linear maps, mean is over places; j runs over the batch and c_i is
v_i less the batch's mean. With negatives=teacher, images to which the teacher gives the class of i are left out of the sum,
an idea of BRCD (WWW 2024); the default is the plain sum, because the abstract knows of no classes here. A batch of one
has no negatives, and N is 0.

The teacher's side has a fusion of its own, t_l, which learns with the student's. They do not gain by agreeing on a
constant: every image would be as near as any other, and N is log B, what it costs to know nothing. But they can get
stuck there: without c, or with gates that close, stages stayed at log B for whole runs on the digits.

Maps are averaged to side x side, at most, before they are fused: a 1x1 convolution and an average may change places, so only
the gates see less, and the cost falls with the places. tau 0.1, width 64 and side 8 are ours, untuned;
weight 0.2 is chosen by size: with it three stages start near CE (0.6 log 128 is 2.9, log 10 is 2.3). The abstract speaks of
features alone, so kd is 0.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustkd.criteria.base import Criterion
from robustkd.functional import kl
from robustkd.method import Distiller
from robustkd.models.net import Frozen, Network, stage_widths
from robustkd.types import Batch, Count, DatasetInfo, NonNegative, Output, Positive

DEAD = 1e-3  # a length below which a vector has no direction: what divides by it bounds the gradient


def info_nce(student: Tensor, teacher: Tensor, tau: float = 0.1, classes: Tensor | None = None) -> Tensor:
    """How badly each image is found again among the teacher's: (B, D), (B, D), (B,) or nothing -> scalar.

    Others of an image's own class, where classes are given, are no negatives of it.
    """
    # What all images have in common tells none from another, and in pooled maps it is most of what there is.
    s, t = (F.normalize(v - v.mean(dim=0), eps=DEAD) for v in (student, teacher))
    alike = s @ t.T / tau
    if classes is not None:
        kin = (classes[:, None] == classes).fill_diagonal_(False)
        alike = alike.masked_fill(kin, -torch.inf)
    return F.cross_entropy(alike, torch.arange(len(s), device=s.device))


class FusionStage(nn.Module):
    """One step down: a map joins what is above it; gates for channels and places; a vector comes out."""

    def __init__(self, channels: int, width: int, side: int) -> None:
        super().__init__()
        self.join, self.side = nn.Conv2d(channels, width, 1), side
        self.what, self.where = nn.Linear(width, width), nn.Conv2d(width, 1, 1)
        self.project = nn.Linear(width, width)

    def forward(self, x: Tensor, above: Tensor | None) -> tuple[Tensor, Tensor]:
        """A map (B, c, h, w) and the fused one above it -> fused (B, width, h', w'), vectors (B, width)."""
        size = min(x.shape[2], self.side), min(x.shape[3], self.side)
        p = self.join(F.adaptive_avg_pool2d(x, size) if x.shape[2:] != size else x)
        if above is not None:
            p = p + F.interpolate(above, p.shape[2:])
        q = p * (1 + self.what(p.mean((2, 3))).sigmoid()[:, :, None, None])
        r = q * (1 + self.where(q).sigmoid())
        return p, self.project(r.mean((2, 3)))


class TopDownFusion(nn.Module):
    """Stages of a net, fused from the top down."""

    def __init__(self, channels: Sequence[int], width: int, side: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(FusionStage(c, width, side) for c in channels)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps (B, c, h, w) from the lowest up -> a vector (B, width) of each."""
        fused, vectors = None, []
        for stage, x in zip(reversed(self.stages), reversed(maps), strict=True):
            fused, vector = stage(x, fused)
            vectors.append(vector)
        return vectors[::-1]


class MFFKD(Distiller):
    """At every stage the student's fused features find the same image again among the teacher's."""

    def __init__(
        self,
        student: Network,
        teacher: Frozen,
        data: DatasetInfo,
        criterion: Callable[[], Criterion],
        *,
        weight: NonNegative = 0.2,
        tau: Positive = 0.1,
        negatives: Literal["all", "teacher"] = "all",
        width: Count = 64,
        side: Count = 8,
        kd: NonNegative = 0.0,
        temperature: Positive = 4.0,
    ) -> None:
        super().__init__(student, teacher, criterion)
        ours, theirs = stage_widths("mffkd", student, teacher.net, data.shape)
        self.weight, self.tau, self.negatives, self.kd, self.temperature = weight, tau, negatives, kd, temperature
        self.ours, self.theirs = TopDownFusion(ours, width, side), TopDownFusion(theirs, width, side)

    def transfer(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        vectors = zip(self.ours(student.maps[1:]), self.theirs(teacher.maps[1:]), strict=True)
        classes = teacher.logits.argmax(dim=1) if self.negatives == "teacher" else None
        found = [info_nce(s, t, self.tau, classes) for s, t in vectors]
        terms = {"contrast": self.weight * torch.stack(found).sum()}
        if self.kd:
            terms["kd"] = self.kd * self.temperature**2 * kl(teacher.logits, student.logits, self.temperature)
        return terms
