"""mtkd_ssr: Gou et al., "Multi-target Knowledge Distillation via Student Self-reflection", IJCV 2023.

    heads    L = sum_{l<L} CE(z_t,l, y)    the auxiliary heads of the teacher
    train    L = CE(z_s, y) + channels SCD + responses SRD + review CRD
    SCD = sum_l || u(W_l f_s,l) - u(f_t,l) ||^2,   u(v) = v / ||v||
    SRD = sum_l T^2 KL(p_t,l || p_s,l)
    CRD = sum_{l<L} T^2 KL(p_s,L || p_s,l),   p_s,L a constant

Based on the abstract (doi 10.1007/s11263-023-01792-z): it names stage-wise channel distillation, stage-wise response
distillation and cross-stage review, in which the student learns from its own predictions after each stage. The equations are
ours. f_l is the map after stage l of L, averaged over positions, and W_l a linear map. z_l are the logits of a linear head on
f_l, scaled to mean 0 and standard deviation 1 over channels; after the last stage they are the logits of the network itself,
so that the exported model is distilled too. Without scaling, the raw sums of a pre-activation network grow together with
their heads, and training diverges. SCD is averaged over the batch and summed over channels, 2 - 2 cos, so that its magnitude
does not depend on the width. If the numbers of stages differ, l counts the pairs of `robustkd.models.stage_pairs`.

The teacher's heads are trained on the labels in a separate phase, 0.1 of the run in addition to its epochs, and fixed
afterwards; with responses=0 they are not needed and there is no such phase. The student's heads are trained on the teacher's
logits and on the student's final logits, not on labels, so that a wrong label affects the student once, not once per stage.
The abstract does not specify this. The weights, 1 each, and T = 4 are ours, untuned.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustkd.criteria.base import Criterion
from robustkd.errors import UsageError
from robustkd.functional import kl, safe_normalise
from robustkd.method import Distiller, Phase
from robustkd.models.layers import build_head
from robustkd.models.net import Frozen, Network
from robustkd.models.stage_pairs import pair_stages
from robustkd.types import Batch, DatasetInfo, NonNegative, Objective, Output, Positive, Share


def normalised_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Compute the mean squared distance of vectors scaled to length 1: (B, c), (B, c) -> scalar."""
    u_s, u_t = (safe_normalise(v) for v in (student, teacher))
    return (u_s - u_t).square().sum(dim=1).mean()


def pool_maps(maps: Iterable[Tensor]) -> list[Tensor]:
    """Average each map over its positions: (B, c, h, w) -> (B, c) each."""
    return [x.mean((2, 3)) for x in maps]


def stage_logits(heads: nn.ModuleList, stages: list[Tensor]) -> list[Tensor]:
    """Compute the logits of each head from its stage; the last stage has no head: (B, c) each -> (B, K) each."""
    return [head(F.layer_norm(f, f.shape[1:])) for head, f in zip(heads, stages, strict=False)]


class MTKDSSR(Distiller):
    """Distillation of channels and logits at every stage, and of the student's final logits into its own stages."""

    def __init__(
        self,
        student: Network,
        teacher: Frozen,
        data: DatasetInfo,
        criterion: Callable[[], Criterion],
        *,
        channels: NonNegative = 1.0,
        responses: NonNegative = 1.0,
        review: NonNegative = 1.0,
        first: Share = 0.1,
        temperature: Positive = 4.0,
    ) -> None:
        super().__init__(student, teacher, criterion)
        self.pairs = pair_stages("mtkd_ssr", student, teacher.net, data.shape)
        if len(self.pairs) < 2:
            raise UsageError("mtkd_ssr: one of the networks has one stage, but both need at least 2")
        widths_s, widths_t = ([shape[0] for shape in shapes] for shapes in list(zip(*self.pairs, strict=True))[2:])
        self.channels, self.responses, self.review = channels, responses, review
        self.first, self.temperature = first, temperature
        self.projections = nn.ModuleList(nn.Linear(*widths) for widths in zip(widths_s, widths_t, strict=True))
        kind = self.criterion.head
        self.heads = nn.ModuleList(build_head(kind, width, data.classes) for width in widths_s[:-1])
        self.teacher_heads = nn.ModuleList(build_head(kind, width, data.classes) for width in widths_t[:-1])
        self.criteria = nn.ModuleList(criterion() for _ in self.teacher_heads)

    def transfer(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        T = self.temperature
        f_s = pool_maps(student.maps[pair.student] for pair in self.pairs)
        f_t = pool_maps(teacher.maps[pair.teacher] for pair in self.pairs)
        z_s = [*stage_logits(self.heads, f_s), student.logits]
        with torch.no_grad():
            z_t = [*stage_logits(self.teacher_heads, f_t), teacher.logits]
        scd = [normalised_distance(w(s), t) for w, s, t in zip(self.projections, f_s, f_t, strict=True)]
        srd = [T**2 * kl(t, s, T) for t, s in zip(z_t, z_s, strict=True)]
        crd = [T**2 * kl(student.logits.detach(), s, T) for s in z_s[:-1]]
        return {
            "channels": self.channels * torch.stack(scd).sum(),
            "responses": self.responses * torch.stack(srd).sum(),
            "review": self.review * torch.stack(crd).sum(),
        }

    def heads_step(self, batch: Batch) -> Iterator[Objective]:
        """Yield the loss of the teacher's heads, the step of the first phase; the last stage is not run."""
        with torch.no_grad():
            lower = [pair.teacher for pair in self.pairs[:-1]]
            features = enumerate(islice(self.teacher.net.iter_features(batch.images), lower[-1] + 1))
            f = pool_maps(x for i, x in features if i in lower)
        z = stage_logits(self.teacher_heads, f)
        heads = enumerate(zip(self.criteria, z, strict=True), start=1)
        yield Objective({f"head/{l}": criterion(logits, batch).mean() for l, (criterion, logits) in heads})

    def phases(self) -> tuple[Phase, ...]:
        first = [*self.teacher_heads.parameters(), *self.criteria.parameters()]
        ids = {id(parameter) for parameter in first}
        train = Phase("train", self.step, [p for p in self.parameters() if id(p) not in ids])
        return (Phase("heads", self.heads_step, first, epochs=self.first), train) if self.responses else (train,)
