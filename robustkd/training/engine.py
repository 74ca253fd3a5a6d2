"""The training loop: an update for each phase, epoch, batch and objective. It does not depend on any particular method.

A run can be interrupted after any epoch and resumed with bit-equal weights: the method's state includes its memories, the
order of the data and the draws of the networks depend only on the epoch's number, and Epoch.state contains everything else.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import chain, count, islice, pairwise
from typing import Any

import torch
from torch import Tensor

from robustkd import seeds
from robustkd.data.loader import Loader
from robustkd.method import Method, Phase
from robustkd.models.initialisation import seeded_generators
from robustkd.models.net import Network
from robustkd.training.averaging import WeightAverage
from robustkd.training.backbones import find_networks, find_new_heads, fix_bn_statistics, frozen_backbones
from robustkd.training.compilation import CompiledForwards
from robustkd.training.data_parallel import DataParallel
from robustkd.training.finite_updates import FiniteUpdates, are_finite, skip_limit
from robustkd.training.optimisers import build_optimiser, set_learning_rate
from robustkd.training.recipe import Recipe
from robustkd.training.updates import Updates, update_shares
from robustkd.types import Clock, Compile, Objective, OnNonfinite


class DivergedError(RuntimeError):
    """Terms of the loss, or weights, are not finite."""


class Meter:
    """Means of terms and notes over an epoch. Sums stay on the device, so that no step synchronises with the host."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int | Tensor] = {}
        self.skipped: int | Tensor = 0  # updates that were dropped

    def add(self, objective: Objective) -> None:
        for name, value in {**objective.terms, **objective.notes}.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach().float()
            self.counts[name] = self.counts.get(name, 0) + 1

    def add_update(self, objectives: Iterable[Objective], kept: Tensor) -> None:
        """Add the objectives of an update, which do not count if it was dropped.

        Args:
            kept: whether it was not, as a bool on the device.
        """
        for objective in objectives:
            for name, value in {**objective.terms, **objective.notes}.items():
                self.sums[name] = self.sums.get(name, 0) + torch.where(kept, value.float(), 0)
                self.counts[name] = self.counts.get(name, 0) + kept
        self.skipped = self.skipped + ~kept

    def means(self) -> dict[str, float]:
        values = torch.stack(list(self.sums.values())).tolist()  # synchronises with the device
        counts = {name: int(count) for name, count in self.counts.items()}
        return {name: value / counts[name] for name, value in zip(self.sums, values, strict=True) if counts[name]}


@dataclass(frozen=True)
class Epoch:
    """The result of an epoch.

    Attributes:
        phase: its name.
        number: counted from 1 over all phases.
        terms: means of the loss's terms and notes.
        skipped: updates that were dropped because they were not finite.
        state: returns what `fit` needs to resume after this epoch.
        average: returns the method's model with the moving average of its weights; None where there is none.
        note: what the user should know of the epoch.
    """

    phase: str
    number: int
    terms: dict[str, float]
    skipped: int
    state: Callable[[], dict[str, Any]]
    average: Callable[[], Network | None]
    note: str = ""


def total_epochs(method: Method, recipe: Recipe) -> int:
    """Return the number of epochs over all phases."""
    return sum(recipe.phase_epochs(phase) for phase in method.phases())


def count_phases(method: Method, recipe: Recipe) -> int:
    """Return the number of phases that have epochs."""
    return sum(recipe.phase_epochs(phase) > 0 for phase in method.phases())


def fit(
    method: Method,
    loader: Loader,
    recipe: Recipe,
    *,
    random: torch.Generator | None = None,
    state: dict[str, Any] | None = None,
    on_nonfinite: OnNonfinite = "stop",
    parallel: DataParallel | None = None,
    compile: Compile = "off",
) -> Iterator[Epoch]:
    """Train a method and yield after every epoch, with the method in evaluation mode.

    Args:
        method, loader: on one device; the loader is of the training set.
        recipe: the schedule, the optimiser's parameters and the number of epochs.
        random: the generator that the method draws from; its state is part of the run's state.
        state: the state of an Epoch, to resume after it.
        on_nonfinite: stop at the end of the epoch; or skip the update, up to `MAX_SKIPPED` of an epoch's.
        parallel: the processes that train together, each of which calls this function.
        compile: whether the forward passes of the networks are compiled (`robustkd.training.compilation`).

    Raises:
        DivergedError: a term is not finite, or too many updates were not; the message names the term, its phase and epoch.
    """
    _restore(method, random, state)
    number, phases = 0, method.phases()
    for index, phase in enumerate(phases):
        epochs = recipe.phase_epochs(phase)
        first = _completed_epochs(state, index, epochs)
        number += first
        if first == epochs:
            continue
        new_heads = find_new_heads(method, phases, index)
        training = PhaseTraining(method, phase, loader, recipe, new_heads, on_nonfinite, parallel, compile)
        training.begin(state if first else None)
        for epoch in range(first, epochs):
            number += 1
            yield _train_epoch(training, Clock(epoch, epochs), number, random, index)


def _train_epoch(
    training: "PhaseTraining", clock: Clock, number: int, random: torch.Generator | None, phase: int
) -> Epoch:
    """Train an epoch, whose number is counted over all phases."""
    loader = training.loader
    # For networks that draw while they compute, as by dropout. Seeded by the epoch, they need no saved state.
    with seeded_generators(loader.device, seeds.derive(loader.seed, "network", number)):
        terms, skipped = training.train_epoch(clock, number)
    return Epoch(
        training.phase.name,
        number,
        terms,
        skipped,
        partial(_run_state, training, random, phase, clock.epoch + 1),
        partial(training.averaged_network, clock),
        training.compiled.take_note(),
    )


def _restore(method: Method, random: torch.Generator | None, state: Mapping[str, Any] | None) -> None:
    """Load the method and its generator from a saved state, if there is one."""
    if state is not None:
        method.load_state_dict(state["method"])
        if random is not None:
            random.set_state(state["random"])


def _completed_epochs(state: dict[str, Any] | None, phase: int, epochs: int) -> int:
    """Return how many of a phase's epochs are completed in a saved state."""
    if state is None or phase > state["phase"]:
        return 0
    completed: int = state["epoch"]
    return epochs if phase < state["phase"] else completed


def _run_state(training: "PhaseTraining", random: torch.Generator | None, phase: int, epoch: int) -> dict[str, Any]:
    return {
        "phase": phase,
        "epoch": epoch,
        "method": training.method.state_dict(),
        **training.state(),
        "random": None if random is None else random.get_state(),
    }


class PhaseTraining:
    """The training of one phase of a method.

    Args:
        method: on the loader's device.
        phase: of the method.
        loader: of the training set.
        recipe: how the phase is trained.
        new_heads: networks whose backbones are frozen in the first epochs, if the recipe trains heads first.
        on_nonfinite: what happens to an update that is not finite.
        parallel: the processes that train together.
        compile: whether the forward passes of the networks are compiled.
    """

    def __init__(
        self,
        method: Method,
        phase: Phase,
        loader: Loader,
        recipe: Recipe,
        new_heads: Sequence[Network] = (),
        on_nonfinite: OnNonfinite = "stop",
        parallel: DataParallel | None = None,
        compile: Compile = "off",
    ) -> None:
        self.method, self.phase, self.loader, self.recipe = method, phase, loader, recipe
        self.new_heads, self.networks = new_heads, find_networks(method)
        self.optimiser = build_optimiser(method, phase, recipe)
        self.updates = Updates(phase, self.optimiser, recipe, self.networks)
        self.compiled = CompiledForwards(method, phase, recipe, compile)
        self.finite_updates = FiniteUpdates(method, self.optimiser) if on_nonfinite == "skip" else None
        trained = {id(parameter) for parameter in phase.parameters}
        averages = recipe.ema is not None and any(id(parameter) in trained for parameter in method.model.parameters())
        self.average = WeightAverage(method.model, recipe.ema) if averages and recipe.ema is not None else None
        self.divided = nullcontext if parallel is None else partial(parallel.active, method)

    def iter_updates(self, clock: Clock, number: int, meter: Meter) -> Iterator[None]:
        """Train for one epoch and yield after each batch.

        Args:
            clock: the progress within the phase.
            number: of the epoch over all phases, from 0; it determines the order of the data.
            meter: accumulates the terms.
        """
        if self.phase.begin_epoch is not None:
            self.phase.begin_epoch(clock)
        with self.divided():
            yield from self._iter_batches(clock, number, meter)

    def _iter_batches(self, clock: Clock, number: int, meter: Meter) -> Iterator[None]:
        phase, loader = self.phase, self.loader
        probing = self._is_probing(clock)
        shares = update_shares(len(loader.view), len(loader), self.recipe.accumulate)
        updates, done = self.recipe.count_updates(len(loader)), 0
        for (share, last), batch in zip(shares, loader.iter_epoch(number, clock, phase.sampling), strict=True):
            set_learning_rate(self.optimiser, self.recipe.learning_rate((clock.epoch + done / updates) / clock.epochs))
            if self.finite_updates is not None:
                self.finite_updates.begin()
            with self.compiled.active():
                for index, objective in enumerate(phase.step(batch)):
                    if not probing or objective.loss.requires_grad:  # a term may depend on frozen parameters only
                        self.updates.apply(index, objective, share=share, last=last)
                    (meter if self.finite_updates is None else self.finite_updates).add(objective)
            if last:
                done += 1
                if self.finite_updates is not None:
                    meter.add_update(self.finite_updates.objectives, self.finite_updates.end())
                if self.average is not None:
                    self.average.update(self.method.model)
            yield

    def train_epoch(self, clock: Clock, number: int) -> tuple[dict[str, float], int]:
        """Train for one epoch; return the means of the terms, and how many updates were dropped.

        Args:
            number: of the epoch over all phases, from 1.

        Raises:
            DivergedError: a term or a weight is not finite, or too many updates were dropped.
        """
        probing = self._is_probing(clock)
        self.method.train()
        if probing or self.recipe.freeze_bn:
            fix_bn_statistics(self.networks)
        meter = Meter()
        with frozen_backbones(self.new_heads if probing else ()):
            for _ in self.iter_updates(clock, number - 1, meter):
                pass
        if self.phase.end_epoch is not None:
            self.phase.end_epoch(clock)
        self.method.eval()
        terms, skipped = meter.means(), int(meter.skipped)
        self._refuse_divergence(terms, skipped, f"phase '{self.phase.name}', epoch {clock.epoch + 1}")
        return terms, skipped

    def _refuse_divergence(self, terms: Mapping[str, float], skipped: int, where: str) -> None:
        """Raise a DivergedError if an epoch has not ended with finite terms and weights, before its state can be saved."""
        updates = self.recipe.count_updates(len(self.loader))
        if skipped > skip_limit(updates):
            raise DivergedError(
                f"{skipped} of {updates} updates were skipped in {where} because their terms or weights were not finite, and"
                f" at most {skip_limit(updates)} may be: a smaller --lr or a --warmup may help"
            )
        for name, value in terms.items():
            if not math.isfinite(value):
                raise DivergedError(f"the term '{name}' is {value} in {where}: a smaller --lr or a --warmup may help")
        # After the last update, on which no term depends.
        statistics = chain.from_iterable(net.buffers() for net in self.networks)
        if not are_finite([*self.method.parameters(), *statistics]).all():
            raise DivergedError(f"weights are not finite in {where}: a smaller --lr or a --warmup may help")

    def _is_probing(self, clock: Clock) -> bool:
        """Whether an epoch trains new heads only; the last epoch of a phase never does."""
        return bool(self.new_heads) and clock.epoch < min(self.recipe.head_first, clock.epochs - 1)

    def averaged_network(self, clock: Clock) -> Network | None:
        """Return the model with the moving average of its weights, if the phase has one."""
        return None if self.average is None else self.average.network(self.method, self.phase, clock)

    def state(self) -> dict[str, Any]:
        """Return the state of the optimiser, and of the average if there is one."""
        average = {} if self.average is None else {"average": self.average.state_dict()}
        return {"optimiser": self.optimiser.state_dict(), **average}

    def begin(self, state: dict[str, Any] | None) -> None:
        """Load what `state` returned after an epoch of this phase or, if there is none, begin with its first."""
        if state is not None:
            self.optimiser.load_state_dict(state["optimiser"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
        elif self.phase.begin is not None:
            self.phase.begin()


def iter_steps(
    method: Method, phase: Phase, loader: Loader, recipe: Recipe, compile: Compile = "off"
) -> Iterator[None]:
    """Yield after each step of a phase, once the device has computed it, for as long as is asked for."""
    method.train()
    meter, training = Meter(), PhaseTraining(method, phase, loader, recipe, compile=compile)
    middle = Clock(5, 10)  # past the warm-up of methods that then do something else, before what ends at three quarters
    for _ in chain.from_iterable(training.iter_updates(middle, number, meter) for number in count()):
        meter.means()  # synchronises with the device
        yield


def seconds_per_step(method: Method, phase: Phase, loader: Loader, recipe: Recipe, steps: int) -> float:
    """Measure the seconds that a batch of a phase takes: the median of a few, after one for warming up."""
    times = [time.perf_counter()]
    for _ in islice(iter_steps(method, phase, loader, recipe), steps + 1):
        times.append(time.perf_counter())
    durations = [later - earlier for earlier, later in pairwise(times)]
    return statistics.median(durations[1:] or durations)
