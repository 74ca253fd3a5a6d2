"""at: Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017, arXiv 1612.03928.

    L = CE(z_s, y) + weight sum_l mean (q(A_s,l) - q(A_t,l))^2,   q(A) = Q / ||Q||,   Q = vec(mean_c |A_c|^power)

A_l is the map after stage l. The mean is over the batch and the positions of the map, as in the authors' code, whose beta of
1000 includes the division in the paper. Channels need not match; if the sizes differ, the larger activation map is pooled to
the smaller before Q is computed. If the numbers of stages differ, which the paper does not define, they are paired by
`robustkd.models.stage_pairs`.

The default weight follows the size of the maps. Q has length 1, so the sum over positions does not depend on the resolution,
and the mean is inversely proportional to it. The authors' 1000 is for 32x32 images, whose last map in a WRN has 8x8 positions;
other last maps of h x w get 1000 h w / 64, so that the same attention gives the same term at any resolution: 62.5 for the 2x2
of 8x8 images, 766 for the 7x7 of an ImageNet network at 224x224.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from robustkd.criteria.base import Criterion
from robustkd.errors import UsageError
from robustkd.method import Distiller
from robustkd.models.net import Frozen, Network
from robustkd.models.stage_pairs import StagePair, pair_stages
from robustkd.types import Batch, DatasetInfo, NonNegative, Output, Positive

PUBLISHED_WEIGHT, PUBLISHED_AREA = 1000.0, 64  # the authors' weight, and the positions of their last map


def attention_loss(student: Tensor, teacher: Tensor, power: float = 2.0) -> Tensor:
    """Compute the mean squared difference of two attention maps: (B, c, h, w), (B, c', h', w') -> scalar."""
    size = min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3])
    q_s, q_t = (
        _attention_vector(F.adaptive_avg_pool2d(a, size) if a.shape[2:] != size else a, power)
        for a in (student, teacher)
    )
    return (q_s - q_t).square().mean()


def _attention_vector(activations: Tensor, power: float) -> Tensor:
    return F.normalize(activations.abs().pow(power).mean(dim=1).flatten(1))


def scale_weight(last: StagePair) -> float:
    """Return the weight at which the same attention counts as much as with the authors' networks at 32x32.

    >>> scale_weight(StagePair(3, 3, (64, 2, 2), (128, 4, 4)))
    62.5
    """
    (_, h_s, w_s), (_, h_t, w_t) = last.student_shape, last.teacher_shape
    return PUBLISHED_WEIGHT * min(h_s, h_t) * min(w_s, w_t) / PUBLISHED_AREA


class AT(Distiller):
    """Attention transfer: the student matches the teacher's attention maps."""

    version = 2
    derived: ClassVar[Mapping[str, str]] = {
        "weight": "1000 h w / 64 of the last map: 1000 at 8x8 (32x32 images), 62.5 at 2x2"
    }

    def __init__(
        self,
        student: Network,
        teacher: Frozen,
        data: DatasetInfo,
        criterion: Callable[[], Criterion],
        *,
        weight: NonNegative | None = None,
        power: Positive = 2.0,
    ) -> None:
        super().__init__(student, teacher, criterion)
        self.pairs = pair_stages("at", student, teacher.net, data.shape)
        if all(1 in (s[1] * s[2], t[1] * t[2]) for _, _, s, t in self.pairs):
            raise UsageError(
                "at: the maps after all stages have one position, and nothing to attend to; use larger images"
            )
        self.weight = self.resolve("weight", weight, scale_weight(self.pairs[-1]))
        self.power = power

    def transfer(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        stages = [(student.maps[pair.student], teacher.maps[pair.teacher]) for pair in self.pairs]
        return {
            "at": self.weight * sum((attention_loss(s, t, self.power) for s, t in stages), student.logits.new_zeros(()))
        }
