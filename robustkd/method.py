"""Base classes of methods. Override the first of these four that suffices; each default calls the one before it.

1  transfer(student, teacher, batch) -> terms    loss terms that relate a student to a teacher
2  objective(batch) -> Objective                 the complete loss of one update
3  step(batch) -> Iterator[Objective]            several updates per batch; code after a yield runs after the update
4  phases() -> tuple[Phase, ...]                 several training phases, each with its own parameters
"""

from abc import ABC
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from robustkd.criteria.base import Criterion
from robustkd.models.net import Frozen, Network, eval_no_grad
from robustkd.types import Batch, Clock, Objective, Output, Sampling, TrainingLabels

Update = Callable[[Objective, Optimizer], None]
Value = TypeVar("Value")


def backward_and_step(objective: Objective, optimiser: Optimizer) -> None:
    """Update the parameters once: zero_grad, backward, step."""
    optimiser.zero_grad(set_to_none=True)
    objective.loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


@dataclass(frozen=True)
class Phase:
    """A training phase: how a batch is processed, and which parameters are updated."""

    name: str
    step: Callable[[Batch], Iterable[Objective]]
    parameters: list[nn.Parameter]
    epochs: float | None = None  # in addition to the run's epochs, as a fraction of them; None: the run's epochs
    begin: Callable[[], None] | None = None  # called once, before the first epoch
    begin_epoch: Callable[[Clock], None] | None = None  # called before every epoch, also after a run is resumed
    end_epoch: Callable[[Clock], None] | None = None  # called after every epoch, before the network is evaluated
    sampling: Sampling | None = None  # of the phase's epochs; None: the run's
    update: Update = backward_and_step


class Method(nn.Module, ABC):
    """Base class of all methods: owns everything that is trained. State kept between steps is a parameter or a buffer.

    A constructor requests its ingredients by the names of its positional parameters: those in
    `robustkd.method_spec.INGREDIENTS`. Its keyword-only parameters, with types and defaults, are the hyperparameters; they are
    declared nowhere else.
    """

    model: Network  # the network that is evaluated and exported
    # Additional augmentations of each image that a batch contains: names in robustkd.data.paired_views.
    views: Sequence[str] = ()
    # Whether the method is defined for mixtures of two samples: it uses labels through criteria only, and no memory of rows.
    supports_mixing: bool = True
    # Whether its logits are free of the class prior, so that logit adjustment after training would be a second one.
    removes_prior: ClassVar[bool] = False
    # Raised by every change of the method that changes what it learns: its runs are then trained again.
    version: ClassVar[int] = 1
    # Whether it uses knowledge that a user would not have, such as true labels: always, or where one of these hyperparameters
    # is given. Such rows are marked "oracle" in tables and are not ranked.
    oracle: ClassVar[bool] = False
    oracle_parameters: ClassVar[tuple[str, ...]] = ()
    # Hyperparameters that are paths of files, whose content decides what is learned.
    file_parameters: ClassVar[tuple[str, ...]] = ()
    # Hyperparameters whose default, None, stands for a value that follows data and networks, with the rule.
    derived: ClassVar[Mapping[str, str]] = {}

    # Labels that the method, and the teacher it asks for, are trained with; other than "given" for controls only.
    training_labels: ClassVar[TrainingLabels] = "given"
    teacher_labels: ClassVar[TrainingLabels] = "given"

    def __init__(self) -> None:
        super().__init__()
        self.resolved: dict[str, Any] = {}  # values of `derived` hyperparameters that were not given

    def resolve(self, name: str, given: Value | None, default: Value) -> Value:
        """Return a hyperparameter as given or, where it is None, the default derived from data and networks; record the latter.

        Studies log the recorded values, and a dry run prints them.
        """
        if given is not None:
            return given
        self.resolved[name] = default
        return default

    def objective(self, batch: Batch) -> Objective:
        """Return the weighted loss terms of one update."""
        raise TypeError(f"{type(self).__name__} overrides none of objective, step and phases")

    def step(self, batch: Batch) -> Iterator[Objective]:
        """Yield the objectives of one batch, in order. Never yield inside no_grad or autocast: it would leak to the caller."""
        yield self.objective(batch)

    def phases(self) -> tuple[Phase, ...]:
        """Return the training phases. Has no side effects: it may be called at any time."""
        return (Phase("train", self.step, list(self.parameters())),)

    def auxiliary_logits(self, images: Tensor) -> Mapping[str, Tensor]:
        """Return logits of other predictors worth evaluating, by name, such as an ensemble: (B, C, H, W) -> (B, K) each.

        Called in eval mode and without gradients, after the last epoch.
        """
        return {}


class Distiller(Method):
    """Base class of methods with one student and one frozen teacher: L = ce * CE(student) + the terms of `transfer`."""

    def __init__(
        self, student: Network, teacher: Frozen, criterion: Callable[[], Criterion], *, ce: float = 1.0
    ) -> None:
        super().__init__()
        self.model = self.student = student
        self.teacher = teacher
        self.criterion = criterion()
        self.ce = ce

    def transfer(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted loss terms that relate the student to the teacher, by name."""
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


class SelfDistiller(Method):
    """Base class of methods with a teacher of the student's architecture, trained first for as many epochs as the student.

    Until the second phase, the untrained student is evaluated. The teacher is evaluated as well.
    """

    def __init__(self, students: Callable[[int], list[Network]], criterion: Callable[[], Criterion]) -> None:
        super().__init__()
        self.model, self.teacher = students(2)
        self.criterion, self.teacher_criterion = criterion(), criterion()

    def teacher_step(self, batch: Batch) -> Iterator[Objective]:
        """Yield the loss of the teacher, the step of the first phase."""
        yield Objective({"ce/teacher": self.teacher_criterion(self.teacher(batch.images).logits, batch).mean()})

    def teacher_logits(self, images: Tensor) -> Tensor:
        """Compute the logits of the trained teacher: (B, C, H, W) -> (B, K)."""
        with eval_no_grad(self.teacher):
            return self.teacher(images).logits

    def phases(self) -> tuple[Phase, ...]:
        first = [*self.teacher.parameters(), *self.teacher_criterion.parameters()]
        second = [*self.model.parameters(), *self.criterion.parameters()]
        return Phase("teacher", self.teacher_step, first, epochs=1.0), Phase("train", self.step, second)

    def auxiliary_logits(self, images: Tensor) -> Mapping[str, Tensor]:
        return {"teacher": self.teacher(images).logits}
