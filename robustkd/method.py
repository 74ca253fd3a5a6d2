"""What a method is: the ladder. Override the lowest rung that suffices; each default is written in terms of the one before.

1  transfer(student, teacher, batch) -> terms    what ties a student to a teacher
2  objective(batch) -> Objective                 the whole loss of one update
3  step(batch) -> Iterator[Objective]            several updates per batch; code after a yield runs after the update
4  phases() -> tuple[Phase, ...]                 several stretches of training, each with parameters of its own
"""

from abc import ABC
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from robustkd.criteria.base import Criterion
from robustkd.models.net import Frozen, Network
from robustkd.types import Batch, Objective, Output

Update = Callable[[Objective, Optimizer], None]


def backward_and_step(objective: Objective, optimiser: Optimizer) -> None:
    """One update: zero, backward, step."""
    optimiser.zero_grad(set_to_none=True)
    objective.loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


@dataclass(frozen=True)
class Phase:
    """A stretch of training: what happens to a batch, and which parameters move."""

    name: str
    step: Callable[[Batch], Iterable[Objective]]
    parameters: list[nn.Parameter]
    epochs: float | None = None  # beyond the run's budget, as a fraction of it; None: the budget itself
    begin: Callable[[], None] | None = None  # what happens once, before the first epoch
    update: Update = backward_and_step


class Method(nn.Module, ABC):
    """Owns all that learns. What persists between steps is a parameter or a buffer.

    A constructor names its ingredients as positional parameters (`student`, `students`, `teacher`, `data`, `criterion`,
    `random`); the keyword-only rest is its hyperparameters, with defaults and types, and nothing else declares them.
    """

    model: Network  # what is evaluated and shipped
    views: Sequence[
        str
    ] = ()  # further augmentations of each image that a batch brings: words of robustkd.data.paired_views

    def objective(self, batch: Batch) -> Objective:
        """The weighted terms of one update."""
        raise TypeError(f"{type(self).__name__} overrides none of objective, step and phases")

    def step(self, batch: Batch) -> Iterator[Objective]:
        """The updates of one batch, in order. Never yield inside no_grad or autocast: it would leak to the caller."""
        yield self.objective(batch)

    def phases(self) -> tuple[Phase, ...]:
        """The stretches of training. Pure: it may be asked for at any time."""
        return (Phase("train", self.step, list(self.parameters())),)

    def auxiliary_logits(self, images: Tensor) -> Mapping[str, Tensor]:
        """What else is worth measuring beside the model, by name, such as an ensemble: (B, C, H, W) -> (B, K) each.

        Asked for in eval mode and without gradients, once the last epoch is over.
        """
        return {}


class Distiller(Method):
    """One student, one frozen teacher: L = ce * CE(student) + whatever `transfer` adds."""

    def __init__(
        self, student: Network, teacher: Frozen, criterion: Callable[[], Criterion], *, ce: float = 1.0
    ) -> None:
        super().__init__()
        self.model = self.student = student
        self.teacher = teacher
        self.criterion = criterion()
        self.ce = ce

    def transfer(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        """What ties the student to the teacher: weighted terms by name."""
        raise TypeError(f"{type(self).__name__} overrides none of transfer, objective, step and phases")

    def objective(self, batch: Batch) -> Objective:
        student = self.student(batch.images)
        with torch.no_grad():
            teacher = self.teacher(batch.images)
        supervised = self.ce * self.criterion(student.logits, batch).mean()
        return Objective({"ce": supervised, **self.transfer(student, teacher, batch)})

    def get_extra_state(self) -> dict[str, Any]:
        return {"teacher": self.teacher.digest}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        if state["teacher"] != self.teacher.digest:
            raise ValueError("this state was saved with another teacher")
