"""at: Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017, arXiv 1612.03928.

    L = CE(z_s, y) + weight sum_l mean (q(A_s,l) - q(A_t,l))^2,   q(A) = Q / ||Q||,   Q = vec(mean_c |A_c|^power)

A_l is the map after stage l. The mean is over the batch and the positions of the map, as in the authors' code, whose beta of
1000 includes the division in the paper. Channels need not match; if the sizes differ, the larger activation map is pooled to
the smaller before Q is computed. The mean is over fewer positions in smaller images: 1000 is for 32x32 images; 8x8 images have
a sixteenth of the positions.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from robustkd.criteria.base import Criterion
from robustkd.method import Distiller
from robustkd.models.net import Frozen, Network, stage_widths
from robustkd.types import Batch, DatasetInfo, NonNegative, Output, Positive


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


class AT(Distiller):
    """Attention transfer: the student matches the teacher's attention maps."""

    def __init__(
        self,
        student: Network,
        teacher: Frozen,
        data: DatasetInfo,
        criterion: Callable[[], Criterion],
        *,
        weight: NonNegative = 1000.0,
        power: Positive = 2.0,
    ) -> None:
        super().__init__(student, teacher, criterion)
        stage_widths("at", student, teacher.net, data.shape)  # raises if the stages cannot be paired
        self.weight, self.power = weight, power

    def transfer(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        stages = zip(student.maps[1:], teacher.maps[1:], strict=True)
        return {
            "at": self.weight * sum((attention_loss(s, t, self.power) for s, t in stages), student.logits.new_zeros(()))
        }
