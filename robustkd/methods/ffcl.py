"""ffcl: Li, Sun, Gou, Du and Ou, "Feature fusion-based collaborative learning for knowledge distillation", Int. J. of
Distributed Sensor Networks 17 (11), 2021, DOI 10.1177/15501477211057037.

Based on the abstract: networks learn from each other by features and logits in different layers, their features are
concatenated into one map, a regularisation adds "positive knowledge", and there is no large teacher. All equations are ours:

    L = sum_k CE(z_k, y) + w(e) T^2 (KL(p_f || p_1) + KL(p_f || p_2) + KL(p_12 || p_f)) + v V^2 sum_k KL(u || p_k)
    w(e) = exp(-5 (1 - min(e / r, 1))^2)

z_f are the logits of a small network on the maps of both networks after every stage, pooled to the size of the last and
concatenated (`layers=last`: on the last maps only); p_12 is the softmax of (z_1 + z_2) / 2; k is 1, 2 and, in the first sum, f.
Targets are detached. The small network, the pairs, T 3 and r = 80 of 300 epochs are those of FFL (Kim et al., arXiv
1904.09058), a closely related method with public code, which fuses the last maps only. The abstract may also mean responses of
inner layers, which would need classifiers of their own; they are left out. The regularisation is assumed to be the virtual
teacher u of Yuan et al. (CVPR 2020, arXiv 1909.11723), which gives the label a probability of 0.99. v 0.1 and its temperature
V 20 are from their code for CIFAR-100, which softens probabilities as if they were logits and does not soften p_k; here both
are softened in the usual way. v = 0 disables it. The first student is the model; both have the same architecture, so that their
maps can be concatenated.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustkd.criteria.base import Criterion
from robustkd.functional import kl, sigmoid_rampup
from robustkd.method import Method
from robustkd.models.layers import build_conv, init_conv_weights
from robustkd.models.net import Network, StagedNetwork, infer_shapes
from robustkd.types import Batch, DatasetInfo, NonNegative, Objective, Positive, Share

LABEL_PROBABILITY, VIRTUAL_TEMPERATURE = 0.99, 20.0  # of the virtual teacher


def mutual_loss(first: Tensor, second: Tensor, fused: Tensor, temperature: float) -> Tensor:
    """Compute T^2 (KL(p_f || p_1) + KL(p_f || p_2) + KL(p_12 || p_f)), targets detached: three (B, K) -> scalar."""
    mean_target, fused_target = ((first + second) / 2).detach(), fused.detach()
    pairs = ((fused_target, first), (fused_target, second), (mean_target, fused))
    return temperature**2 * torch.stack([kl(target, z, temperature) for target, z in pairs]).sum()


def virtual_teacher_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute V^2 KL(u || p), u high for the label and uniform over the others: (B, K), (B,) -> scalar."""
    others = torch.full_like(logits, math.log((1 - LABEL_PROBABILITY) / (logits.shape[1] - 1)))
    return VIRTUAL_TEMPERATURE**2 * kl(
        others.scatter(1, labels[:, None], math.log(LABEL_PROBABILITY)), logits, VIRTUAL_TEMPERATURE
    )


def build_fusion(channels: int, head: nn.Linear, bf16: bool) -> StagedNetwork:
    """Build the network that takes concatenated maps of `channels` in all as its input: (B, c, h, w)."""
    parts = nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        build_conv(channels, head.in_features, size=1),
        nn.BatchNorm2d(head.in_features),
        nn.ReLU(),
    )
    init_conv_weights(parts)
    return StagedNetwork(parts, [], head, bf16=bf16)


def fuse_maps(maps: Sequence[Tensor]) -> Tensor:
    """Concatenate maps, each pooled to the size of the last: (B, c, h, w) each -> (B, sum of c, h', w')."""
    size = (maps[-1].shape[2], maps[-1].shape[3])
    return torch.cat([m if m.shape[2:] == size else F.adaptive_avg_pool2d(m, size) for m in maps], dim=1)


class FFCL(Method):
    """Mutual learning of two networks and a classifier of their fused maps."""

    version = 2

    def __init__(
        self,
        students: Callable[[int], list[Network]],
        data: DatasetInfo,
        criterion: Callable[[], Criterion],
        *,
        temperature: Positive = 3.0,
        ramp: Share = 80 / 300,
        virtual: NonNegative = 0.1,
        layers: Literal["all", "last"] = "all",
    ) -> None:
        super().__init__()
        first, second = students(2)
        self.model, self.students = first, nn.ModuleList([first, second])
        self.layers = slice(1, None) if layers == "all" else slice(-1, None)
        widths = [m[0] for m in infer_shapes(first, data.shape).maps]
        # The same type of head as the students': a criterion may require cosines as logits.
        head = type(first.head)(widths[-1], data.classes)
        self.fusion = build_fusion(2 * sum(widths[self.layers]), head, first.bf16)
        self.criteria = nn.ModuleList(criterion() for _ in range(3))
        self.temperature, self.ramp, self.virtual = temperature, ramp, virtual
        self.supports_mixing = not virtual  # the virtual teacher is defined by the label

    def forward_heads(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the logits of both networks and of their fused maps: (B, C, H, W) -> three (B, K)."""
        first, second = (student(images) for student in self.students)
        pairs = zip(first.maps[self.layers], second.maps[self.layers], strict=True)
        fused = self.fusion(fuse_maps([m for pair in pairs for m in pair]))
        return first.logits, second.logits, fused.logits

    def objective(self, batch: Batch) -> Objective:
        first, second, fused = logits = self.forward_heads(batch.images)
        outputs = zip(("1", "2", "fused"), self.criteria, logits, strict=True)
        terms = {f"ce/{name}": criterion(z, batch).mean() for name, criterion, z in outputs}
        terms["mutual"] = sigmoid_rampup(batch.clock, self.ramp) * mutual_loss(first, second, fused, self.temperature)
        if self.virtual:
            terms["virtual"] = self.virtual * (
                virtual_teacher_loss(first, batch.labels) + virtual_teacher_loss(second, batch.labels)
            )
        return Objective(terms)

    def auxiliary_logits(self, images: Tensor) -> dict[str, Tensor]:
        first, second, fused = self.forward_heads(images)
        return {"fused": fused, "ensemble": (first + second) / 2}
