"""Training: for each phase, epoch, batch and objective, one update. No method's name stands here.

A run can be stopped after any epoch and taken up again with equal weights: what a method remembers is in its state, the
data's order hangs on the epoch's number, and the rest is saved beside.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any, Literal

import torch
from torch import Tensor

from robustkd.data.loader import Loader
from robustkd.method import Method, Phase
from robustkd.types import Clock, Objective


class DivergedError(RuntimeError):
    """A term of the loss is no longer a finite number."""


@dataclass(frozen=True)
class Recipe:
    """How every phase is trained: SGD with momentum, a schedule in fractions of the phase."""

    epochs: int = 30
    lr: float = 0.1
    schedule: Literal["step", "cosine", "constant"] = "step"
    milestones: tuple[float, ...] = (0.3, 0.6, 0.8)  # where "step" multiplies by `factor`
    factor: float = 0.2
    warmup: float = 0.0
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4

    def rate(self, done: float) -> float:
        """The learning rate after a fraction of the phase.

        >>> Recipe(lr=1.0, factor=0.5).rate(0.7)
        0.25
        """
        if done < self.warmup:
            return self.lr * done / self.warmup
        if self.schedule == "cosine":
            return self.lr * 0.5 * (1 + math.cos(math.pi * (done - self.warmup) / (1 - self.warmup)))
        passed = sum(done >= milestone for milestone in self.milestones) if self.schedule == "step" else 0
        return self.lr * self.factor**passed

    def length(self, phase: Phase) -> int:
        """A phase's epochs: the run's budget, or its own fraction of that, at least one."""
        return self.epochs if phase.epochs is None else max(1, round(phase.epochs * self.epochs))


class Meter:
    """Means of terms and notes over an epoch, summed where they are: the step never waits for the host."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, objective: Objective) -> None:
        for name, value in {**objective.terms, **objective.notes}.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach().float()
            self.counts[name] = self.counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        values = torch.stack(list(self.sums.values())).tolist()  # the epoch's one wait
        return {name: value / self.counts[name] for name, value in zip(self.sums, values, strict=True)}


@dataclass(frozen=True)
class Epoch:
    """What an epoch leaves behind."""

    phase: str
    number: int  # counted from 1 over all phases
    terms: dict[str, float]
    state: Callable[[], dict[str, Any]]  # all that `fit` needs to go on from here


def total(method: Method, recipe: Recipe) -> int:
    """Epochs over all phases."""
    return sum(recipe.length(phase) for phase in method.phases())


def fit(
    method: Method,
    loader: Loader,
    recipe: Recipe,
    *,
    random: torch.Generator | None = None,
    state: dict[str, Any] | None = None,
) -> Iterator[Epoch]:
    """Train a method, handing back after every epoch; it stays in training mode only while it trains.

    Args:
        method: on the loader's device.
        loader: the training set.
        recipe: how.
        random: the method's own generator, whose state is part of the run's.
        state: an Epoch's, to go on from.

    Raises:
        Diverged: a term is not finite; the message names it, its phase and epoch.
    """
    if state is not None:
        method.load_state_dict(state["method"])
        if random is not None:
            random.set_state(state["random"])
    number = 0
    for which, phase in enumerate(method.phases()):
        epochs = recipe.length(phase)
        first = 0 if state is None or which > state["phase"] else epochs if which < state["phase"] else state["epoch"]
        number += first
        if first == epochs:
            continue
        optimiser = sgd(phase, recipe)
        if first and state is not None:
            optimiser.load_state_dict(state["optimiser"])
        elif phase.begin is not None:
            phase.begin()
        for epoch in range(first, epochs):
            number += 1
            terms = _epoch(method, phase, optimiser, loader, recipe, Clock(epoch, epochs), number)

            def saved(which: int = which, epoch: int = epoch, optimiser: torch.optim.SGD = optimiser) -> dict[str, Any]:
                return {
                    "phase": which,
                    "epoch": epoch + 1,
                    "method": method.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "random": None if random is None else random.get_state(),
                }

            yield Epoch(phase.name, number, terms, saved)


def sgd(phase: Phase, recipe: Recipe) -> torch.optim.SGD:
    """A phase's own optimiser, over the parameters that the phase moves."""
    return torch.optim.SGD(
        phase.parameters,
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov and recipe.momentum > 0,
        weight_decay=recipe.weight_decay,
        fused=True,
    )


def updates(
    phase: Phase,
    optimiser: torch.optim.SGD,
    loader: Loader,
    recipe: Recipe,
    clock: Clock,
    number: int,
    meter: Meter,
) -> Iterator[None]:
    """One epoch, handing back after each batch."""
    for step, batch in enumerate(loader.epoch(number, clock)):
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate((clock.epoch + step / len(loader)) / clock.epochs)
        for objective in phase.step(batch):
            phase.update(objective, optimiser)
            meter.add(objective)
        yield


def _epoch(
    method: Method, phase: Phase, optimiser: torch.optim.SGD, loader: Loader, recipe: Recipe, clock: Clock, number: int
) -> dict[str, float]:
    method.train()
    meter = Meter()
    for _ in updates(phase, optimiser, loader, recipe, clock, number - 1, meter):
        pass
    method.eval()
    means = meter.means()
    for name, value in means.items():
        if not math.isfinite(value):
            where = f"phase '{phase.name}', epoch {clock.epoch + 1}"
            raise DivergedError(f"the term '{name}' is {value} in {where}: a smaller --lr or a --warmup may help")
    return means


def pace(method: Method, phase: Phase, loader: Loader, recipe: Recipe, steps: int) -> float:
    """Seconds that a batch of this phase takes, the median of a few after one that warms up."""
    method.train()
    times, meter = [time.perf_counter()], Meter()
    for _ in islice(updates(phase, sgd(phase, recipe), loader, recipe, Clock(0, 1), 0, meter), steps + 1):
        meter.means()  # waits for the device
        times.append(time.perf_counter())
    each = [later - earlier for earlier, later in pairwise(times)]
    return statistics.median(each[1:] or each)
