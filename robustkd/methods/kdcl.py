"""kdcl: Guo et al., "Online Knowledge Distillation via Collaborative Learning", CVPR 2020, pages 11020-11029.

    L = sum_m CE(z_m, y) + lambda T^2 sum_m KL(p_t || p_m),   m = 1..M,   one target p_t for all, a constant

    minlogit    z_t,k = min over m of (z_m,k - z_m,y)    per class k, so that p_t gives the label more than any network
    naive       z_t = z_m of the network m with the lowest loss on the sample

Each network is given its own augmentation of each image. The first network is the model.

Based on the abstract and on three independent summaries, which agree; the paper itself was not accessible. lambda 1 and T 2
with minlogit are those of a comparison by another group. Two more targets of the paper are not implemented: linear solves for
convex weights of the logits, but the sources do not say over which samples; general weights by errors on held-out samples,
which are not available here.

Differs from the paper: `naive` uses the loss of the criterion, which with `ce` is the cross entropy of the paper; and there
are two augmentations, so that with three or more networks every other one sees the same.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from robustkd.criteria.base import Criterion
from robustkd.functional import kl
from robustkd.method import Method
from robustkd.models.net import Network
from robustkd.types import AtLeastTwo, Batch, NonNegative, Objective, Positive


def minlogit_target(logits: Sequence[Tensor], labels: Tensor) -> Tensor:
    """Return the minimum over networks of each logit minus that of the label: M times (B, K), (B,) -> (B, K)."""
    return torch.stack([z - z.gather(1, labels[:, None]) for z in logits]).amin(dim=0)


def naive_target(logits: Sequence[Tensor], losses: Sequence[Tensor]) -> Tensor:
    """Return the logits of the network with the lowest loss, per sample: M times (B, K), M times (B,) -> (B, K)."""
    best = torch.stack(list(losses)).argmin(dim=0)
    return torch.stack(list(logits), dim=1)[torch.arange(len(best), device=best.device), best]


class KDCL(Method):
    """Networks trained on the labels and on one target computed from all their logits."""

    views = ("again",)

    def __init__(
        self,
        students: Callable[[int], list[Network]],
        criterion: Callable[[], Criterion],
        *,
        networks: AtLeastTwo = 2,
        target: Literal["minlogit", "naive"] = "minlogit",
        weight: NonNegative = 1.0,
        temperature: Positive = 2.0,
    ) -> None:
        super().__init__()
        self.students = nn.ModuleList(students(networks))
        self.criteria = nn.ModuleList(criterion() for _ in self.students)
        self.model = self.students[0]  # type: ignore[assignment]  # ModuleList does not keep the element type
        self.target, self.weight, self.temperature = target, weight, temperature
        self.supports_mixing = target == "naive"  # the other target is relative to the logit of the label

    def objective(self, batch: Batch) -> Objective:
        T, views = self.temperature, (batch.images, *batch.views)
        logits = [student(views[m % len(views)]).logits for m, student in enumerate(self.students)]
        losses = [criterion(z, batch) for criterion, z in zip(self.criteria, logits, strict=True)]
        target = naive_target(logits, losses) if self.target == "naive" else minlogit_target(logits, batch.labels)
        target = target.detach()
        supervised = {f"ce/{m}": loss.mean() for m, loss in enumerate(losses, 1)}
        mimicry = {f"kl/{m}": self.weight * T**2 * kl(target, z, T) for m, z in enumerate(logits, 1)}
        return Objective({**supervised, **mimicry})
