"""fsp: Yim et al., "A Gift from Knowledge Distillation", CVPR 2017.

    flow     L = sum_l mean (G_s,l - G_t,l)^2,   G_l = A_l A_{l+1}^T / (h w)    stem and stages, no labels
    train    hinton's loss, or plain training (`second=plain`), of the whole student

A_l and A_{l+1} are neighbouring maps, the larger average-pooled to the smaller, flattened to (channels, places). Teacher
and student need equal channels at every map: one family of nets, such as wrn_40_2 and wrn_16_2.

Departs from the paper: the square is averaged over G's entries, as in RepDistiller, so that one learning rate serves all
widths; the second phase is Hinton's loss where the paper trains plainly, as the tables of arXiv 2007.01922 suggest; all
neighbouring maps are paired where the paper pairs the first and last map of a stage. The first phase comes on top of
the run's epochs.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from robustkd.criteria.base import Criterion
from robustkd.errors import UsageError
from robustkd.functional import kl
from robustkd.method import Distiller, Phase
from robustkd.models.net import Frozen, Network, infer_shapes, parameters_up_to
from robustkd.types import Batch, DatasetInfo, Objective, Output, Positive, Share


def fsp_matrix(first: Tensor, second: Tensor) -> Tensor:
    """How two maps go together, channel by channel: (B, m, h, w), (B, n, h', w') -> (B, m, n)."""
    size = min(first.shape[2], second.shape[2]), min(first.shape[3], second.shape[3])
    a, b = (F.adaptive_avg_pool2d(x, size).flatten(2) for x in (first, second))
    return a @ b.transpose(1, 2) / a.shape[2]


class FSP(Distiller):
    """The student first learns how the teacher's maps follow from one another, then distils."""

    def __init__(
        self,
        student: Network,
        teacher: Frozen,
        data: DatasetInfo,
        criterion: Callable[[], Criterion],
        *,
        first: Share = 0.2,
        second: Literal["hinton", "plain"] = "hinton",
        alpha: Share = 0.9,
        temperature: Positive = 4.0,
    ) -> None:
        super().__init__(student, teacher, criterion, ce=1 - alpha if second == "hinton" else 1.0)
        ours, theirs = ([m[0] for m in infer_shapes(net, data.shape).maps] for net in (student, teacher.net))
        if ours != theirs:
            raise UsageError(
                f"fsp: the student's maps have {ours} channels and the teacher's {theirs}; they should be equal, "
                "as in nets of one family and width"
            )
        self.first, self.second, self.alpha, self.temperature = first, second, alpha, temperature
        self.shape, self.top = data.shape, len(ours) - 1

    def transfer(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        if self.second == "plain":
            return {}
        T = self.temperature
        return {"kd": self.alpha * T**2 * kl(teacher.logits, student.logits, T)}

    def follow(self, batch: Batch) -> Iterator[Objective]:
        """The first phase's step: all maps, and nothing above them."""
        ours: Sequence[Tensor] = list(self.student.iter_features(batch.images))
        with torch.no_grad():
            theirs = list(self.teacher.net.iter_features(batch.images))
        steps = zip(pairwise(ours), pairwise(theirs), strict=True)
        losses = [(fsp_matrix(*s) - fsp_matrix(*t)).square().mean() for s, t in steps]
        yield Objective({"flow": torch.stack(losses).sum()})

    def phases(self) -> tuple[Phase, ...]:
        return (
            Phase("flow", self.follow, parameters_up_to(self.student, self.top, self.shape), epochs=self.first),
            Phase("train", self.step, list(self.parameters())),
        )
