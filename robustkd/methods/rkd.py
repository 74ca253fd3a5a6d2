"""rkd_d, rkd_a, rkd_da: Park et al., "Relational Knowledge Distillation", CVPR 2019, arXiv 1904.05068.

    L = CE(z_s, y) + distance L_D + angle L_A + kd T^2 KL(p_t || p_s)
    L_D = mean_{i,j} h(d_ij / mu),    d_ij = ||e_i - e_j||,   mu = the mean of d_ij over i != j
    L_A = mean_{i,j,k} h(cos of the angle at e_j between e_i and e_k)

h is the Huber loss with delta 1 between the values of student and teacher; e are the pooled embeddings, scaled to length 1
(`normalised`), as in the authors' classification code. Means are over all B^2 and B^3 entries, including the zeros on the
diagonals. That code adds kd = 1 at T = 4; the tables of arXiv 2007.01922 suggest none, which is the default here.

Differs from the code: pairs whose squared distance is below 1e-8 (duplicated images, dead units) are ignored, where the code
has a gradient of about 1e8; a batch of one has no distances, a batch of two no angles.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from robustkd.criteria.base import Criterion
from robustkd.functional import kl
from robustkd.method import Distiller
from robustkd.models.net import Frozen, Network
from robustkd.types import Batch, NonNegative, Output, Positive

EPSILON = 1e-8  # squared distance below which two embeddings are regarded as identical


def pairwise_differences(e: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute e_i - e_j, its length, and whether the two differ: (B, D) -> (B, B, D), (B, B), (B, B) bool."""
    difference = e[:, None] - e[None]
    squared = difference.square().sum(dim=2)
    distinct = squared > EPSILON
    # Identical pairs are replaced by 1 before the root: its derivative at 0 is infinite, and masking it later gives NaN.
    return difference, torch.where(distinct, squared, 1.0).sqrt() * distinct, distinct


def relative_distances(e: Tensor) -> Tensor:
    """Compute pairwise distances divided by their mean: (B, D) -> (B, B)."""
    _, length, distinct = pairwise_differences(e)
    return length / (length.sum() / distinct.sum().clamp(min=1)).clamp(min=EPSILON)


def angle_cosines(e: Tensor) -> Tensor:
    """Compute the cosines of the angles at j between i and k: (B, D) -> (B, B, B), indexed by j, i, k."""
    difference, length, distinct = pairwise_differences(e)
    # Directions from j have the opposite sign; in their product the signs cancel, so no transposition is needed.
    direction = difference * (distinct / torch.where(distinct, length, 1.0))[..., None]
    return direction @ direction.transpose(1, 2)


class RKD(Distiller):
    """The student matches distances and angles between the teacher's embeddings."""

    def __init__(
        self,
        student: Network,
        teacher: Frozen,
        criterion: Callable[[], Criterion],
        *,
        distance: NonNegative = 25.0,
        angle: NonNegative = 50.0,
        normalised: bool = True,
        kd: NonNegative = 0.0,
        temperature: Positive = 4.0,
    ) -> None:
        super().__init__(student, teacher, criterion)
        self.distance, self.angle, self.normalised = distance, angle, normalised
        self.kd, self.temperature = kd, temperature

    def transfer(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        s, t = (F.normalize(o.embedding) if self.normalised else o.embedding for o in (student, teacher))
        terms = {}
        if self.distance:
            terms["distance"] = self.distance * F.smooth_l1_loss(relative_distances(s), relative_distances(t))
        if self.angle:
            terms["angle"] = self.angle * F.smooth_l1_loss(angle_cosines(s), angle_cosines(t))
        if self.kd:
            terms["kd"] = self.kd * self.temperature**2 * kl(teacher.logits, student.logits, self.temperature)
        return terms
