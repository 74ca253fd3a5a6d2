"""Updates of parameters by the objectives of a phase, with clipped gradients, and gradients accumulated over batches."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from robustkd.method import Phase
from robustkd.models.net import Network
from robustkd.training.recipe import Recipe
from robustkd.types import Objective


class Updates:
    """The updates of a phase.

    With `accumulate`, the gradients of each objective of a batch are summed over several batches, weighted by their samples,
    before the parameters are updated. For losses that are means over samples, this is the gradient of one large batch. It is
    not where samples of a batch depend on one another: in batch norm, and in terms that compare the samples of a batch.
    """

    def __init__(self, phase: Phase, optimiser: Optimizer, recipe: Recipe, networks: Sequence[Network]) -> None:
        self.phase, self.optimiser = phase, optimiser
        self.accumulate, self.clip_grad = recipe.accumulate, recipe.clip_grad
        self.parameters = [parameter for parameter in phase.parameters if parameter.requires_grad]
        self._parts = _divide(self.parameters, networks)
        # The gradients of each objective of a batch so far, in the order of `parameters`.
        self._sums: dict[int, list[Tensor | None]] = {}

    def apply(self, number: int, objective: Objective, *, share: float = 1.0, last: bool = True) -> None:
        """Add an objective's gradients and, with the last batch, update the parameters.

        Args:
            number: of the objective within its batch.
            share: of the samples of the update that are in this batch.
            last: whether the update's batches are complete.
        """
        if self.accumulate == 1 and not self.clip_grad:
            self.phase.update(objective, self.optimiser)
            return
        self.optimiser.zero_grad(set_to_none=True)
        for parameter, gradient in zip(self.parameters, self._sums.pop(number, ()), strict=False):
            parameter.grad = gradient
        (share * objective.loss).backward()  # type: ignore[no-untyped-call]
        if not last:
            self._sums[number] = [parameter.grad for parameter in self.parameters]
            return
        if self.clip_grad:
            for part in self._parts:  # no more than one kernel launch per part: nothing is read back from the device
                torch.nn.utils.clip_grad_norm_(part, self.clip_grad)
        self.optimiser.step()


def _divide(parameters: Sequence[nn.Parameter], networks: Sequence[Network]) -> list[list[nn.Parameter]]:
    """Divide parameters into those of each network, and all others."""
    owners = {id(parameter): number for number, net in enumerate(networks) for parameter in net.parameters()}
    parts: dict[int, list[nn.Parameter]] = {}
    for parameter in parameters:
        parts.setdefault(owners.get(id(parameter), -1), []).append(parameter)
    return list(parts.values())


def update_shares(samples: int, batches: int, accumulate: int) -> list[tuple[float, bool]]:
    """Return, for each batch of an epoch, its share of the samples of its update, and whether it is the update's last.

    >>> update_shares(10, 3, 2)  # batches of 4, 3 and 3 samples
    [(0.5714285714285714, False), (0.42857142857142855, True), (1.0, True)]
    """
    sizes = [samples // batches + (number < samples % batches) for number in range(batches)]
    shares = []
    for first in range(0, batches, accumulate):
        group = sizes[first : first + accumulate]
        shares += [(size / sum(group), place == len(group)) for place, size in enumerate(group, 1)]
    return shares
