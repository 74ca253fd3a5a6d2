"""mffkd: Li et al., "Multistage feature fusion knowledge distillation", Scientific Reports 14, 2024.

    L = CE(z_s, y) + weight sum_l N(s_l, t_l) + kd T^2 KL(p_t || p_s)
    N(s, t) = mean_i -log( exp(u(s_i) . u(t_i) / tau) / sum_j exp(u(s_i) . u(t_j) / tau) ),   u(v_i) = c_i / ||c_i||
    P_l = J_l F_l + up(P_l+1),   Q_l = P_l (1 + sigmoid(A_l mean P_l)),   R_l = Q_l (1 + sigmoid(B_l Q_l)),   s_l = C_l mean R_l

Based on the abstract (doi 10.1038/s41598-024-64041-4): it names a symmetric fusion across stages in both networks, attention
on the fused features and a contrastive loss between teacher and student at the same stage. The equations are ours. F_l is the
map after stage l. From the top down, each map is projected to a common width and added to the fused map above it; one gate
weights its channels, then another its positions. J and B are 1x1 convolutions, A and C linear maps, mean is over positions; j
runs over the batch and c_i is v_i minus the mean of the batch. With negatives=teacher, images for which the teacher predicts
the same class as for i are excluded from the sum, an idea of BRCD (WWW 2024); the default is the plain sum, because the
abstract does not mention classes here. A batch of one has no negatives, and N is 0.

The teacher has its own fusion, t_l, trained together with the student's. A constant is no solution: all images would be
equally similar, and N is log B, the loss of a random guess. But training can stall there: without c, or with gates that
close, stages stayed at log B for whole runs on the digits.

Maps are average-pooled to at most side x side before they are fused. A 1x1 convolution and an average commute, so only the
gates lose resolution, and the cost falls with the number of positions. If the numbers of stages differ, only those that
`robustkd.models.stage_pairs` pairs are fused. tau 0.1, width 64 and side 8 are ours, untuned; weight
0.2 is chosen so that the loss of three stages starts near CE (0.6 log 128 is 2.9, log 10 is 2.3). The abstract mentions only
features, so kd is 0.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustkd.criteria.base import Criterion
from robustkd.functional import kl, safe_normalise
from robustkd.method import Distiller
from robustkd.models.net import Frozen, Network
from robustkd.models.stage_pairs import pair_stages
from robustkd.types import Batch, Count, DatasetInfo, NonNegative, Output, Positive


def info_nce(student: Tensor, teacher: Tensor, tau: float = 0.1, classes: Tensor | None = None) -> Tensor:
    """Compute InfoNCE with the teacher's vector of the same image as the positive: (B, D), (B, D), (B,) or None -> scalar.

    If classes are given, other images of the same class are not used as negatives.
    """
    # The component shared by all images does not discriminate, and it dominates pooled maps: subtract it.
    s, t = (safe_normalise(v - v.mean(dim=0)) for v in (student, teacher))
    similarity = s @ t.T / tau
    if classes is not None:
        same_class = (classes[:, None] == classes).fill_diagonal_(False)
        similarity = similarity.masked_fill(same_class, -torch.inf)
    return F.cross_entropy(similarity, torch.arange(len(s), device=s.device))


class FusionStage(nn.Module):
    """Fusion of one map with the fused map above it, with gates for channels and positions."""

    def __init__(self, channels: int, width: int, side: int) -> None:
        super().__init__()
        self.lateral, self.side = nn.Conv2d(channels, width, 1), side
        self.channel_gate, self.spatial_gate = nn.Linear(width, width), nn.Conv2d(width, 1, 1)
        self.project = nn.Linear(width, width)

    def forward(self, x: Tensor, above: Tensor | None) -> tuple[Tensor, Tensor]:
        """Fuse a map (B, c, h, w) with the fused map above it -> fused (B, width, h', w'), vectors (B, width)."""
        size = min(x.shape[2], self.side), min(x.shape[3], self.side)
        p = self.lateral(F.adaptive_avg_pool2d(x, size) if x.shape[2:] != size else x)
        if above is not None:
            p = p + F.interpolate(above, p.shape[2:])
        q = p * (1 + self.channel_gate(p.mean((2, 3))).sigmoid()[:, :, None, None])
        r = q * (1 + self.spatial_gate(q).sigmoid())
        return p, self.project(r.mean((2, 3)))


class TopDownFusion(nn.Module):
    """Fusion of the stages of a network from the top down."""

    def __init__(self, channels: Sequence[int], width: int, side: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(FusionStage(c, width, side) for c in channels)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps (B, c, h, w) from the lowest stage up -> one vector (B, width) for each."""
        fused, vectors = None, []
        for stage, x in zip(reversed(self.stages), reversed(maps), strict=True):
            fused, vector = stage(x, fused)
            vectors.append(vector)
        return vectors[::-1]


class MFFKD(Distiller):
    """Contrastive loss between the fused features of student and teacher at every stage."""

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
        self.pairs = pair_stages("mffkd", student, teacher.net, data.shape)
        self.weight, self.tau, self.negatives, self.kd, self.temperature = weight, tau, negatives, kd, temperature
        self.student_fusion = TopDownFusion([pair.student_shape[0] for pair in self.pairs], width, side)
        self.teacher_fusion = TopDownFusion([pair.teacher_shape[0] for pair in self.pairs], width, side)

    def transfer(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        maps_s, maps_t = zip(*((student.maps[p.student], teacher.maps[p.teacher]) for p in self.pairs), strict=True)
        vectors = zip(self.student_fusion(maps_s), self.teacher_fusion(maps_t), strict=True)
        classes = teacher.logits.argmax(dim=1) if self.negatives == "teacher" else None
        losses = [info_nce(s, t, self.tau, classes) for s, t in vectors]
        terms = {"contrast": self.weight * torch.stack(losses).sum()}
        if self.kd:
            terms["kd"] = self.kd * self.temperature**2 * kl(teacher.logits, student.logits, self.temperature)
        return terms
