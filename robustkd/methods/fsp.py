"""fsp: Yim et al., "A Gift from Knowledge Distillation", CVPR 2017.

    flow     L = sum_l mean (G_s,l - G_t,l)^2,   G_l = A_l A_{l+1}^T / (h w)    stem and stages, no labels
    train    Hinton's loss, or plain training (`second=plain`), of the whole student

A_l and A_{l+1} are consecutive maps, the larger max-pooled to the smaller as in the paper, flattened to (channels, positions).
Teacher and student need equal numbers of channels at every map: one family of networks, such as wrn_40_2 and wrn_16_2.

Differs from the paper: the square is averaged over the entries of G, as in RepDistiller, so that one learning rate suits all
widths; the second phase is Hinton's loss instead of plain training, as the tables of arXiv 2007.01922 suggest; all pairs of
consecutive maps are used instead of the first and last map of each stage. The epochs of the first phase are added to those
of the run, which makes 1.2 times those of plain training; the table of costs shows it.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from robustkd.criteria.base import Criterion
from robustkd.errors import UsageError
from robustkd.functional import kl
from robustkd.method import Distiller, Phase
from robustkd.models.net import Frozen, Network, infer_shapes, parameters_up_to
from robustkd.models.stage_pairs import pair_stages
from robustkd.types import Batch, DatasetInfo, Objective, Output, Positive, Share


def fsp_matrix(first: Tensor, second: Tensor) -> Tensor:
    """Compute the FSP matrix of two maps, the inner products of their channels: (B, m, h, w), (B, n, h', w') -> (B, m, n)."""
    size = min(first.shape[2], second.shape[2]), min(first.shape[3], second.shape[3])
    a, b = (F.adaptive_max_pool2d(x, size).flatten(2) for x in (first, second))
    return a @ b.transpose(1, 2) / a.shape[2]


class FSP(Distiller):
    """The student first matches the teacher's FSP matrices, then is distilled."""

    version: ClassVar[int] = 2

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
        pair_stages("fsp", student, teacher.net, data.shape)  # raises if one has no stage, and so no flow
        ours, theirs = ([m[0] for m in infer_shapes(net, data.shape).maps] for net in (student, teacher.net))
        if ours != theirs:
            raise UsageError(
                f"fsp: the student's maps have {ours} channels and the teacher's {theirs}; they should be equal, "
                "as in networks of one family and width"
            )
        self.first, self.second, self.alpha, self.temperature = first, second, alpha, temperature
        self.shape, self.top = data.shape, len(ours) - 1

    def transfer(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        if self.second == "plain":
            return {}
        T = self.temperature
        return {"kd": self.alpha * T**2 * kl(teacher.logits, student.logits, T)}

    def flow_step(self, batch: Batch) -> Iterator[Objective]:
        """Yield the loss of the FSP matrices, the step of the first phase; no layer above the maps is run."""
        ours: Sequence[Tensor] = list(self.student.iter_features(batch.images))
        with torch.no_grad():
            theirs = list(self.teacher.net.iter_features(batch.images))
        pairs = zip(pairwise(ours), pairwise(theirs), strict=True)
        losses = [(fsp_matrix(*s) - fsp_matrix(*t)).square().mean() for s, t in pairs]
        yield Objective({"flow": torch.stack(losses).sum()})

    def phases(self) -> tuple[Phase, ...]:
        return (
            Phase("flow", self.flow_step, parameters_up_to(self.student, self.top, self.shape), epochs=self.first),
            Phase("train", self.step, list(self.parameters())),
        )
