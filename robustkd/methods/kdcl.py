"""kdcl: Guo et al., "Online Knowledge Distillation via Collaborative Learning", CVPR 2020, pages 11020-11029.

    L = sum_m CE(z_m, y) + lambda T^2 sum_m KL(p_t || p_m),   m = 1..M,   one target p_t for all, a constant

    minlogit    z_t,k = min over m of (z_m,k - z_m,y)    per class k, so that p_t is surer of the label than any network
    naive       z_t = z_m of the network m whose loss on the sample is least

Each network sees an augmentation of its own of each image. The first network is the model.

Taken from the abstract and from three independent readers' notes, which agree; the paper itself was out of reach. lambda 1
and T 2 with minlogit are those of another group's comparison. The paper has two more targets, left out here: linear solves
for convex weights of the logits, over what the sources do not say, and general weighs by errors on held-out samples,
which a training set of ours does not have.

Departs from the paper: `naive` goes by the loss of the criterion, which with `ce` is the cross-entropy that the paper
names; and there are two augmentations, so that of three networks or more every other one sees the same.
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
    """Per class the least lead over the label that a network gives it: M times (B, K), (B,) -> (B, K)."""
    return torch.stack([z - z.gather(1, labels[:, None]) for z in logits]).amin(dim=0)


def naive_target(logits: Sequence[Tensor], losses: Sequence[Tensor]) -> Tensor:
    """Per sample the answer of the network with the least loss: M times (B, K), M times (B,) -> (B, K)."""
    who = torch.stack(list(losses)).argmin(dim=0)
    return torch.stack(list(logits), dim=1)[torch.arange(len(who), device=who.device), who]


class KDCL(Method):
    """Networks learn from the labels and from one target made of all their answers."""

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
        self.model = self.students[0]  # type: ignore[assignment]  # a ModuleList forgets what it holds
        self.target, self.weight, self.temperature = target, weight, temperature

    def objective(self, batch: Batch) -> Objective:
        T, looks = self.temperature, (batch.images, *batch.views)
        logits = [student(looks[m % len(looks)]).logits for m, student in enumerate(self.students)]
        losses = [criterion(z, batch) for criterion, z in zip(self.criteria, logits, strict=True)]
        chosen = naive_target(logits, losses) if self.target == "naive" else minlogit_target(logits, batch.labels)
        target = chosen.detach()
        supervised = {f"ce/{m}": loss.mean() for m, loss in enumerate(losses, 1)}
        mimicry = {f"kl/{m}": self.weight * T**2 * kl(target, z, T) for m, z in enumerate(logits, 1)}
        return Objective({**supervised, **mimicry})
