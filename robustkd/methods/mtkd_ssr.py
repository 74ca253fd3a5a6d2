"""mtkd_ssr: Gou et al., "Multi-target Knowledge Distillation via Student Self-reflection", IJCV 2023.

    heads    L = sum_{l<L} CE(z_t,l, y)    the teacher's heads alone
    train    L = CE(z_s, y) + channels SCD + responses SRD + review CRD
    SCD = sum_l || u(W_l f_s,l) - u(f_t,l) ||^2,   u(v) = v / ||v||
    SRD = sum_l T^2 KL(p_t,l || p_s,l)
    CRD = sum_{l<L} T^2 KL(p_s,L || p_s,l),   p_s,L a constant

Read from the abstract (doi 10.1007/s11263-023-01792-z): it names stage-wise channel distillation, stage-wise response
distillation and cross-stage review, in which the student learns from its own answers after each stage. The equations are
ours. f_l is the map after stage l of L, averaged over its places, and W_l a linear map. z_l is what a linear head says of
f_l, scaled to mean 0 and deviation 1 over its channels; after the last stage it is the net's own answer, so that what is
shipped is distilled too. Unscaled, the raw sums of a pre-activation net grow with their heads, and training diverges. SCD is
averaged over the batch and summed over channels, 2 - 2 cos, so that its size does not hang on the width.

The teacher's heads learn from the labels in a phase of their own, 0.1 of the run and on top of it, and are constant after
it; with responses=0 nobody asks them and there is no such phase. The student's heads learn from the teacher's answers and
the student's last, and from no label: a wrong label is told to the student once, not once a stage. The abstract does not say.
The weights, 1 each, and T = 4 are ours, untuned.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustkd.criteria.base import Criterion
from robustkd.errors import UsageError
from robustkd.functional import kl
from robustkd.method import Distiller, Phase
from robustkd.models.layers import build_head
from robustkd.models.net import Frozen, Network, stage_widths
from robustkd.types import Batch, DatasetInfo, NonNegative, Objective, Output, Positive, Share

DEAD = 1e-3  # a length below which a vector has no direction: what divides by it bounds the gradient


def normalised_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean squared distance of two sets of vectors, each scaled to length 1: (B, c), (B, c) -> scalar."""
    u_s, u_t = (F.normalize(v, eps=DEAD) for v in (student, teacher))
    return (u_s - u_t).square().sum(dim=1).mean()


def pool_maps(maps: Iterable[Tensor]) -> list[Tensor]:
    """What each channel says on average: (B, c, h, w) -> (B, c) each."""
    return [x.mean((2, 3)) for x in maps]


def stage_logits(heads: nn.ModuleList, stages: list[Tensor]) -> list[Tensor]:
    """What the heads say, each of its own stage, of which the last has none: (B, c) each -> (B, K) each."""
    return [read(F.layer_norm(f, f.shape[1:])) for read, f in zip(heads, stages, strict=False)]


class MTKDSSR(Distiller):
    """At every stage the student has the teacher's channels and answer to learn, and its own last answer to review."""

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
        ours, theirs = stage_widths("mtkd_ssr", student, teacher.net, data.shape)
        if len(ours) < 2:
            raise UsageError(
                "mtkd_ssr: the nets have one stage, and there is no other to review; two at least are needed"
            )
        self.channels, self.responses, self.review = channels, responses, review
        self.first, self.temperature = first, temperature
        self.projections = nn.ModuleList(nn.Linear(*widths) for widths in zip(ours, theirs, strict=True))
        kind = self.criterion.head
        self.heads = nn.ModuleList(build_head(kind, width, data.classes) for width in ours[:-1])
        self.teacher_heads = nn.ModuleList(build_head(kind, width, data.classes) for width in theirs[:-1])
        self.criteria = nn.ModuleList(criterion() for _ in self.teacher_heads)

    def transfer(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        T = self.temperature
        f_s, f_t = (pool_maps(output.maps[1:]) for output in (student, teacher))
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

    def prepare(self, batch: Batch) -> Iterator[Objective]:
        """The first phase's step; the walk ends below the last stage."""
        with torch.no_grad():
            f = pool_maps(islice(self.teacher.net.iter_features(batch.images), 1, 1 + len(self.teacher_heads)))
        z = stage_logits(self.teacher_heads, f)
        said = enumerate(zip(self.criteria, z, strict=True), start=1)
        yield Objective({f"head/{l}": criterion(logits, batch).mean() for l, (criterion, logits) in said})

    def phases(self) -> tuple[Phase, ...]:
        theirs = [*self.teacher_heads.parameters(), *self.criteria.parameters()]
        known = {id(parameter) for parameter in theirs}
        train = Phase("train", self.step, [p for p in self.parameters() if id(p) not in known])
        return (Phase("heads", self.prepare, theirs, epochs=self.first), train) if self.responses else (train,)
