"""The training loop: an update for each phase, epoch, batch and objective. It does not depend on any particular method.

A run can be interrupted after any epoch and resumed with bit-equal weights: the method's state includes its memories, the
order of the data depends only on the epoch's number, and Epoch.state contains everything else.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, count, islice, pairwise
from typing import Any

import torch
from torch import Tensor

from robustkd.data.loader import Loader
from robustkd.method import Method, Phase
from robustkd.training.recipe import Recipe, build_optimiser
from robustkd.types import Clock, Objective


class DivergedError(RuntimeError):
    """A term of the loss is not finite."""


class Meter:
    """Means of terms and notes over an epoch. Sums stay on the device, so that no step synchronises with the host."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, objective: Objective) -> None:
        for name, value in {**objective.terms, **objective.notes}.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach().float()
            self.counts[name] = self.counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        values = torch.stack(list(self.sums.values())).tolist()  # synchronises with the device
        return {name: value / self.counts[name] for name, value in zip(self.sums, values, strict=True)}


@dataclass(frozen=True)
class Epoch:
    """The result of an epoch."""

    phase: str
    number: int  # counted from 1 over all phases
    terms: dict[str, float]
    state: Callable[[], dict[str, Any]]  # returns what `fit` needs to resume after this epoch


def total_epochs(method: Method, recipe: Recipe) -> int:
    """Return the number of epochs over all phases."""
    return sum(recipe.phase_epochs(phase) for phase in method.phases())


def fit(
    method: Method,
    loader: Loader,
    recipe: Recipe,
    *,
    random: torch.Generator | None = None,
    state: dict[str, Any] | None = None,
) -> Iterator[Epoch]:
    """Train a method and yield after every epoch, with the method in evaluation mode.

    Args:
        method: on the loader's device.
        loader: of the training set.
        recipe: the schedule, the optimiser's parameters and the number of epochs.
        random: the generator that the method draws from; its state is part of the run's state.
        state: the state of an Epoch, to resume after it.

    Raises:
        DivergedError: a term is not finite; the message names the term, its phase and epoch.
    """
    if state is not None:
        method.load_state_dict(state["method"])
        if random is not None:
            random.set_state(state["random"])
    number = 0
    for index, phase in enumerate(method.phases()):
        epochs = recipe.phase_epochs(phase)
        first = _completed_epochs(state, index, epochs)
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
            terms = _train_epoch(method, phase, optimiser, loader, recipe, Clock(epoch, epochs), number)
            yield Epoch(phase.name, number, terms, partial(_run_state, method, optimiser, random, index, epoch + 1))


def _completed_epochs(state: dict[str, Any] | None, phase: int, epochs: int) -> int:
    """Return how many of a phase's epochs are completed in a saved state."""
    if state is None or phase > state["phase"]:
        return 0
    completed: int = state["epoch"]
    return epochs if phase < state["phase"] else completed


def _run_state(
    method: Method, optimiser: torch.optim.SGD, random: torch.Generator | None, phase: int, epoch: int
) -> dict[str, Any]:
    return {
        "phase": phase,
        "epoch": epoch,
        "method": method.state_dict(),
        "optimiser": optimiser.state_dict(),
        "random": None if random is None else random.get_state(),
    }


def iter_updates(
    phase: Phase,
    optimiser: torch.optim.SGD,
    loader: Loader,
    recipe: Recipe,
    clock: Clock,
    number: int,
    meter: Meter,
) -> Iterator[None]:
    """Train for one epoch and yield after each batch.

    Args:
        clock: the progress within the phase.
        number: of the epoch over all phases, from 0; it determines the order of the data.
        meter: accumulates the terms.
    """
    if phase.begin_epoch is not None:
        phase.begin_epoch(clock)
    for step, batch in enumerate(loader.iter_epoch(number, clock, phase.sampling)):
        for group in optimiser.param_groups:
            group["lr"] = recipe.learning_rate((clock.epoch + step / len(loader)) / clock.epochs)
        for objective in phase.step(batch):
            phase.update(objective, optimiser)
            meter.add(objective)
        yield


def _train_epoch(
    method: Method, phase: Phase, optimiser: torch.optim.SGD, loader: Loader, recipe: Recipe, clock: Clock, number: int
) -> dict[str, float]:
    method.train()
    meter = Meter()
    for _ in iter_updates(phase, optimiser, loader, recipe, clock, number - 1, meter):
        pass
    if phase.end_epoch is not None:
        phase.end_epoch(clock)
    method.eval()
    means = meter.means()
    for name, value in means.items():
        if not math.isfinite(value):
            where = f"phase '{phase.name}', epoch {clock.epoch + 1}"
            raise DivergedError(f"the term '{name}' is {value} in {where}: a smaller --lr or a --warmup may help")
    return means


def seconds_per_step(method: Method, phase: Phase, loader: Loader, recipe: Recipe, steps: int) -> float:
    """Measure the seconds that a batch of a phase takes: the median of a few, after one for warming up."""
    method.train()
    times, meter, optimiser = [time.perf_counter()], Meter(), build_optimiser(phase, recipe)
    middle = Clock(1, 2)  # past the warm-up of methods that then do something else
    epochs = (iter_updates(phase, optimiser, loader, recipe, middle, number, meter) for number in count())
    for _ in islice(chain.from_iterable(epochs), steps + 1):
        meter.means()  # synchronises with the device
        times.append(time.perf_counter())
    durations = [later - earlier for earlier, later in pairwise(times)]
    return statistics.median(durations[1:] or durations)
