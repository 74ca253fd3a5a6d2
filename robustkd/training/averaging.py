"""A moving average of a network's weights, which is evaluated next to the weights themselves.

    a <- k a + (1 - k) w after each update,   k = min(decay, (1 + t) / (10 + t)),   t the number of updates before

Batch statistics are averaged too. The warm-up of k is TensorFlow's and timm's: without it, a short run would average its first
weights for its whole length. Polyak and Juditsky, SIAM J. Control Optim. 1992; as in torch.optim.swa_utils.
"""

import copy
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from robustkd.method import Method, Phase
from robustkd.models.net import Network
from robustkd.types import Clock

Tensors = tuple[Tensor, ...] | list[Tensor]


class WeightAverage:
    """A moving average of the parameters and buffers of a network."""

    def __init__(self, net: Network, decay: float) -> None:
        self.decay, self._weight = decay, 0.0
        # Its counter stays on the CPU, so that reading it does not synchronise with the device.
        self.averaged = AveragedModel(net, multi_avg_fn=self._average, use_buffers=True)

    def update(self, net: Network) -> None:
        """Include the present weights; the first are copied."""
        updates = int(self.averaged.n_averaged)
        self._weight = 1 - min(self.decay, (1 + updates) / (10 + updates))
        self.averaged.update_parameters(net)

    @torch.no_grad()
    def _average(self, averages: Tensors, present: Tensors, _: Tensor | int) -> None:
        if averages[0].is_floating_point():
            torch._foreach_lerp_(list(averages), list(present), self._weight)
        else:  # counters
            torch._foreach_copy_(list(averages), list(present))

    def state_dict(self) -> dict[str, Any]:
        """Return the average and its counter."""
        return self.averaged.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what `state_dict` returned."""
        self.averaged.load_state_dict(state)

    def network(self, method: Method, phase: Phase, clock: Clock) -> Network:
        """Return a network with the averaged weights, in evaluation mode, after what the phase does before an evaluation.

        Args:
            method: whose model is averaged; it is left as it was.
            clock: of the epoch that has ended.
        """
        state = copy.deepcopy(method.state_dict())
        method.model.load_state_dict(self.averaged.module.state_dict())
        if phase.end_epoch is not None:
            phase.end_epoch(clock)
        net = copy.deepcopy(method.model).eval()
        method.load_state_dict(state)
        return net
