"""one: Lan, Zhu and Gong, "Knowledge Distillation by On-the-Fly Native Ensemble", NeurIPS 2018, arXiv 1806.04606.

    L = sum_m CE(z_m, y) + CE(z_e, y) + w(e) T^2 sum_m KL(p_e || p_m),   z_e = sum_m g_m z_m,   m = 1..M
    g = softmax(ReLU(BN(W GAP(f)))),   w(e) = exp(-5 (1 - min(e / r, 1))^2)

M branches share all but the last stage and the head; f is the shared map, g the weights of the branches for each image, and
the prediction p_e of the ensemble is detached as a target. The first branch with the shared part is the model; the ensemble
is evaluated as well. M 3, T 3 and r = 80 of 300 epochs are the authors'.

Differs from their code: the logarithm of p_e is exact, where they add 1e-7; W has no bias, which BN would cancel; for a batch
of one, the gate uses BN's running statistics, because one sample has no variance. Their networks are ResNets: that each
branch of a WRN has its own last BN-ReLU, and that its gate takes a raw sum, is our choice.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustkd.criteria.base import Criterion
from robustkd.errors import UsageError
from robustkd.functional import kl, sigmoid_rampup
from robustkd.method import Method
from robustkd.models.net import Network, StagedNetwork, infer_shapes
from robustkd.types import AtLeastTwo, Batch, DatasetInfo, Objective, Positive, Share


def gated_logits(gates: Tensor, logits: Sequence[Tensor]) -> Tensor:
    """Compute the logits of the ensemble, sum_m g_m z_m: (B, M), M times (B, K) -> (B, K)."""
    return (gates.T[:, :, None] * torch.stack(list(logits))).sum(dim=0)


def ensemble_kl(ensemble: Tensor, logits: Sequence[Tensor], temperature: float) -> Tensor:
    """Compute T^2 sum_m KL(p_e || p_m) with p_e detached: (B, K), M times (B, K) -> scalar."""
    target = ensemble.detach()
    return temperature**2 * torch.stack([kl(target, z, temperature) for z in logits]).sum()


class Gate(nn.Module):
    """Weights of the branches, computed from the shared map: (B, c, h, w) -> (B, M), rows of sum 1."""

    def __init__(self, channels: int, branches: int) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(channels, branches, bias=False), nn.BatchNorm1d(branches)

    def forward(self, x: Tensor) -> Tensor:
        z, bn = self.linear(x.mean((2, 3))), self.norm
        single = len(z) == 1  # torch raises for a batch of one in training mode
        z = F.batch_norm(z, bn.running_mean, bn.running_var, bn.weight, bn.bias, eps=bn.eps) if single else bn(z)
        return F.relu(z).softmax(dim=1)


class ONE(Method):
    """Branches of one network, trained on the labels and on their gated ensemble."""

    def __init__(
        self,
        students: Callable[[int], list[Network]],
        data: DatasetInfo,
        criterion: Callable[[], Criterion],
        *,
        branches: AtLeastTwo = 3,
        temperature: Positive = 3.0,
        ramp: Share = 80 / 300,
    ) -> None:
        super().__init__()
        nets = [net for net in students(branches) if isinstance(net, StagedNetwork)]
        if len(nets) < branches:
            raise UsageError("one: an external network cannot be split before its last stage; use a resnet or a wrn")
        if (stages := len(nets[0].stages)) < 2:
            raise UsageError(f"one: the network has {stages} stages but needs at least 2 to share one between branches")
        self.model, *others = nets
        # Only the upper part of the others is kept: a network whose input is the shared map.
        self.branches = nn.ModuleList(StagedNetwork(o.stages[-1], [], o.head, neck=o.neck, bf16=o.bf16) for o in others)
        self.gate = Gate(infer_shapes(nets[0], data.shape).maps[-2][0], branches)
        self.criteria = nn.ModuleList(criterion() for _ in range(branches + 1))
        self.temperature, self.ramp = temperature, ramp

    def forward_heads(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Compute the logits of each branch and the gates: (B, C, H, W) -> M times (B, K), (B, M)."""
        output = self.model(images)
        shared = output.maps[-2]
        return [output.logits, *(branch(shared).logits for branch in self.branches)], self.gate(shared)

    def objective(self, batch: Batch) -> Objective:
        logits, gates = self.forward_heads(batch.images)
        ensemble = gated_logits(gates, logits)
        names = (*range(1, len(logits) + 1), "ensemble")
        outputs = zip(names, self.criteria, (*logits, ensemble), strict=True)
        terms = {f"ce/{name}": criterion(z, batch).mean() for name, criterion, z in outputs}
        terms["kl"] = sigmoid_rampup(batch.clock, self.ramp) * ensemble_kl(ensemble, logits, self.temperature)
        return Objective(terms, {"gate": gates.mean(dim=0).max().detach()})

    def auxiliary_logits(self, images: Tensor) -> dict[str, Tensor]:
        logits, gates = self.forward_heads(images)
        return {"ensemble": gated_logits(gates, logits)}
