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
from typing import Any

import torch
from torch import Tensor

from robustkd.data.loader import Loader
from robustkd.method import Method, Phase
from robustkd.training.recipe import Recipe, build_optimiser
from robustkd.types import Clock, Objective


class DivergedError(RuntimeError):
    """A term of the loss is no longer a finite number."""


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


def total_epochs(method: Method, recipe: Recipe) -> int:
    """Epochs over all phases."""
    return sum(recipe.phase_epochs(phase) for phase in method.phases())


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
        epochs = recipe.phase_epochs(phase)
        first = 0 if state is None or which > state["phase"] else epochs if which < state["phase"] else state["epoch"]
        number += first
        if first == epochs:
            continue
        optimiser = build_optimiser(phase, recipe)
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


def iter_updates(
    phase: Phase,
    optimiser: torch.optim.SGD,
    loader: Loader,
    recipe: Recipe,
    clock: Clock,
    number: int,
    meter: Meter,
) -> Iterator[None]:
    """One epoch, handing back after each batch."""
    for step, batch in enumerate(loader.iter_epoch(number, clock)):
        for group in optimiser.param_groups:
            group["lr"] = recipe.learning_rate((clock.epoch + step / len(loader)) / clock.epochs)
        for objective in phase.step(batch):
            phase.update(objective, optimiser)
            meter.add(objective)
        yield


def _epoch(
    method: Method, phase: Phase, optimiser: torch.optim.SGD, loader: Loader, recipe: Recipe, clock: Clock, number: int
) -> dict[str, float]:
    method.train()
    meter = Meter()
    for _ in iter_updates(phase, optimiser, loader, recipe, clock, number - 1, meter):
        pass
    method.eval()
    means = meter.means()
    for name, value in means.items():
        if not math.isfinite(value):
            where = f"phase '{phase.name}', epoch {clock.epoch + 1}"
            raise DivergedError(f"the term '{name}' is {value} in {where}: a smaller --lr or a --warmup may help")
    return means


def seconds_per_step(method: Method, phase: Phase, loader: Loader, recipe: Recipe, steps: int) -> float:
    """Seconds that a batch of this phase takes, the median of a few after one that warms up."""
    method.train()
    times, meter = [time.perf_counter()], Meter()
    for _ in islice(
        iter_updates(phase, build_optimiser(phase, recipe), loader, recipe, Clock(0, 1), 0, meter), steps + 1
    ):
        meter.means()  # waits for the device
        times.append(time.perf_counter())
    each = [later - earlier for earlier, later in pairwise(times)]
    return statistics.median(each[1:] or each)
