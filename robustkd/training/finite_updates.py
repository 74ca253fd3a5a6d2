"""Updates that are dropped where a loss, a weight or other state that they result in is not finite.

    s <- s' if s' and all terms of the loss are finite, else s,   s the state before an update and s' after it

The state is that of the method (parameters, batch statistics, memories) and of the optimiser. The device computes s' in any
case and selects one of them, so that no update waits for the host, as in loss scaling (Micikevicius et al., arXiv 1710.03740).
An update of accumulated gradients is kept or dropped as a whole.
"""

import math
from collections.abc import Hashable, Iterable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from robustkd.types import Objective

MAX_SKIPPED = 0.1  # share of an epoch's updates that may be dropped


def skip_limit(updates: int) -> int:
    """Return how many of an epoch's updates may be dropped: one at least.

    >>> skip_limit(23), skip_limit(4)
    (2, 1)
    """
    return max(1, int(MAX_SKIPPED * updates))


def are_finite(tensors: Iterable[Tensor]) -> Tensor:
    """Return which of some tensors have finite values only, as (n,) bool on the device of the first one.

    Tensors of integers, which always have, are left out.
    """
    checked = [tensor.detach() for tensor in tensors if tensor.is_floating_point() and tensor.numel()]
    if not checked:
        return torch.ones(0, dtype=torch.bool)
    largest = torch._foreach_norm(checked, math.inf)  # NaN where a value is NaN
    return torch.stack([value.to(checked[0].device) for value in largest]).isfinite()


class FiniteUpdates:
    """Keeps or drops each update of a phase.

    Args:
        method: whose parameters and buffers are restored.
        optimiser: of the phase.

    Attributes:
        objectives: of the present update, detached.
    """

    def __init__(self, method: nn.Module, optimiser: Optimizer) -> None:
        self.method, self.optimiser = method, optimiser
        self.objectives: list[Objective] = []
        self._before: dict[Hashable, Tensor] = {}

    def begin(self) -> None:
        """Copy the state before an update, unless one of several batches is in progress."""
        if not self._before:
            self._before, self.objectives = {name: t.detach().clone() for name, t in self._tensors().items()}, []

    def add(self, objective: Objective) -> None:
        """Take an objective of the update."""
        terms, notes = ({name: t.detach() for name, t in part.items()} for part in (objective.terms, objective.notes))
        self.objectives.append(Objective(terms, notes))

    @torch.no_grad()
    def end(self) -> Tensor:
        """Restore the state if the update is not finite; return whether it is kept, as a bool on the device."""
        before, after = self._before, self._tensors()
        values = [value.float() for o in self.objectives for value in (*o.terms.values(), *o.notes.values())]
        kept = torch.stack(values).isfinite().all() & self._is_finite(after)
        for name, tensor in after.items():
            # What the update has added is the state of an optimiser, which begins at zero.
            old = before[name] if name in before else torch.zeros_like(tensor)
            tensor.copy_(torch.where(kept.to(tensor.device), tensor, old))
        self._before = {}
        return kept

    def _is_finite(self, after: dict[Hashable, Tensor]) -> Tensor:
        """Return whether all tensors are finite that were before the update: memories may begin at infinity."""
        names = [name for name in after if name in self._before]
        were = are_finite(self._before[name] for name in names)
        are = are_finite(after[name] for name in names)
        added = are_finite(tensor for name, tensor in after.items() if name not in self._before)
        return (are | ~were).all() & added.all()

    def _tensors(self) -> dict[Hashable, Tensor]:
        """Return the tensors of the state by name."""
        return {
            **dict(self.method.named_parameters()),
            **dict(self.method.named_buffers()),
            **{
                (id(parameter), key): value
                for parameter, state in self.optimiser.state.items()
                for key, value in state.items()
                if isinstance(value, Tensor)
            },
        }
