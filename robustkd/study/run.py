"""A run as a function: construct the method, train it from where a checkpoint left it, and evaluate it, all in memory.

    outcome = run(data, Run("student", MethodSpec.parse("hinton"), seed=0), settings, teacher=Teacher(net))

Nothing here knows a folder: `run_folder.py` writes files around it, a notebook, a process pool or the estimator calls it as
it is. Seed s fixes the first weights, the order of batches and all draws of the method.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustkd import seeds
from robustkd.data.loader import Loader
from robustkd.data.manifest import Splits
from robustkd.data.view import Source, View
from robustkd.method import Method
from robustkd.models.net import Network, digest_weights
from robustkd.study.construct import check_constructible, construct_method, seeded_network, training_rows
from robustkd.study.evaluate import Evaluation, Teacher, evaluate, evaluation_loader
from robustkd.study.machine import Machine, continue_on
from robustkd.study.monitor import EpochMonitor
from robustkd.study.plan import Progress, Report, Run, Settings
from robustkd.study.results import TEACHER, RunResult, TrainingInfo
from robustkd.study.stopping import RunPaused, RunStopped, epochs_of_share
from robustkd.study.versions import method_version
from robustkd.training import engine, hardware
from robustkd.training.data_parallel import DataParallel
from robustkd.training.inference import predict_auxiliary_logits, predict_logits

Weights = Mapping[str, Tensor]
AVERAGED = "ema"  # the row of a network with the moving average of its weights


class Checkpointer(Protocol):
    """Keeps the state of an unfinished run."""

    interval: float  # seconds between two saves
    should_stop: Callable[[], bool]  # whether training should stop after the present epoch
    share: float  # of the epochs, after which the run is paused; 1: it is not

    def load(self) -> dict[str, Any] | None:
        """Return the saved state, or None."""

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the saved state."""


class Saver:
    """Saves an unfinished run after an epoch, if it is time to or training should stop.

    Args:
        epochs, phases: of the run.
        machines: on which it was trained so far.
        teacher: its digest.
    """

    def __init__(
        self,
        checkpointer: Checkpointer | None,
        epochs: int,
        phases: int,
        machines: Sequence[Machine] = (),
        teacher: str = "",
    ) -> None:
        self.checkpointer, self.last, self.epochs = checkpointer, time.monotonic(), epochs
        texts = [machine.model_dump_json() for machine in machines]
        self.constant = {"machines": texts, "total": [epochs, phases], "teacher": teacher}

    @contextmanager
    def saved(self, epoch: engine.Epoch, monitor: EpochMonitor) -> Iterator[None]:
        """Save an epoch if it is time to, and stop after the block if training should.

        Raises:
            RunStopped, RunPaused: it should; the state is saved.
        """
        stop = self._save_if_due(epoch, monitor)
        yield
        if stop is not None:
            raise stop

    def _save_if_due(self, epoch: engine.Epoch, monitor: EpochMonitor) -> type[RunPaused | RunStopped] | None:
        """Return the exception with which training should stop, or None."""
        if self.checkpointer is None or epoch.number == self.epochs:
            return None
        is_pause = epoch.number == epochs_of_share(self.checkpointer.share, self.epochs)
        stop = RunPaused if is_pause else RunStopped if self.checkpointer.should_stop() else None
        if stop or time.monotonic() - self.last > self.checkpointer.interval:
            self.checkpointer.save({**epoch.state(), **monitor.state(), **self.constant})
            self.last = time.monotonic()
        return stop


@dataclass
class TrainedRun:
    """What training results in.

    Attributes:
        model: the network of the last epoch, or of a teacher that is stopped early that of the chosen one; in evaluation mode.
        head: of the network, as the criterion requires it.
        info: how it was trained.
        history: a row per epoch.
        early_weights: of the epoch that is chosen on held-out rows; None without them.
        averaged_weights: the moving average of the weights, if the recipe asks for one.
        auxiliary: logits on the test set that the method evaluates next to its network, by name: (n, K).
        held_out: the predicted classes of the held-out rows after each epoch: (e, N).
    """

    model: Network
    head: str
    info: TrainingInfo
    history: pd.DataFrame
    early_weights: Weights | None = None
    averaged_weights: Weights | None = None
    auxiliary: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    held_out: NDArray[np.int16] = field(default_factory=lambda: np.zeros((0, 0), np.int16))


class RunOutcome(NamedTuple):
    """A run's networks and their evaluation."""

    trained: TrainedRun
    evaluation: Evaluation

    @property
    def result(self) -> RunResult:
        """The metrics."""
        return self.evaluation.result


def run(
    data: Splits,
    spec: Run,
    settings: Settings,
    *,
    teacher: Teacher | None = None,
    init: Network | None = None,
    checkpointer: Checkpointer | None = None,
    report: Report = lambda progress: None,
) -> RunOutcome:
    """Train and evaluate a run in memory.

    Args:
        data: what the run's seed is shown.
        spec: method, criterion, role and seed.
        settings: networks, recipe and hardware.
        teacher: required by methods that distil from one.
        init: a network whose weights the student starts from, instead of drawing them.
        checkpointer: makes the training resumable.
        report: called after every epoch, and first for those of an earlier process that the checkpointer knows.

    Raises:
        UsageError: method, network and data do not go together.
        DivergedError: a term of the loss is not finite.
        RunStopped: the checkpointer asked to stop; the state is saved.
        RunPaused: the checkpointer's share of the epochs is trained; the state is saved.
    """
    trained = train(data, spec, settings, teacher=teacher, init=init, checkpointer=checkpointer, report=report)
    networks: dict[str, Network] = {"last": trained.model}
    if trained.early_weights is not None:
        networks["early"] = seeded_network(data.train, spec, settings)
        networks["early"].load_state_dict(dict(trained.early_weights))
    evaluation = evaluate(
        networks, data, spec, settings, teacher=teacher, auxiliary=trained.auxiliary, training=trained.info
    )
    return RunOutcome(trained, evaluation)


def training_loader(view: View, method: Method, spec: Run, settings: Settings, seed: int = 0) -> Loader:
    """Return the batches that a run's method is trained on."""
    device = torch.device(settings.device)
    return Loader(
        view,
        settings.batch,
        device,
        seed=seed,
        augment=settings.augment_of(spec.role),
        views=method.views,
        sampling=settings.sampling,
        mixing=settings.mixing,
        transform=settings.transform,
    )


def train(
    data: Splits,
    spec: Run,
    settings: Settings,
    *,
    teacher: Teacher | None = None,
    init: Network | None = None,
    checkpointer: Checkpointer | None = None,
    report: Report = lambda progress: None,
    parallel: DataParallel | None = None,  # the processes that train it together, each of which calls this function
) -> TrainedRun:
    """Train a run in memory, from its checkpoint if there is one. Arguments and errors are those of `run`."""
    random = torch.Generator(torch.device(settings.device)).manual_seed(seeds.derive(spec.seed, "method"))
    network = partial(require_network, teacher, spec)
    method = construct_method(data.train, spec, settings, random, teacher=network, init=init)
    loader = training_loader(training_rows(data.train, spec), method, spec, settings, seeds.derive(spec.seed, "run"))
    recipe, (digest, state) = settings.recipe_of(spec), load_state(checkpointer, teacher, spec)
    monitor = EpochMonitor(data, settings, spec.role, engine.total_epochs(method, recipe), state)
    measurable, (machines, note) = hardware.reset_peak_memory(settings.device), find_machines(state, spec, settings)
    report_earlier_epochs(monitor.rows, spec, monitor.epochs, report, note)
    saver = Saver(checkpointer, monitor.epochs, engine.count_phases(method, recipe), machines, digest)
    fit = partial(engine.fit, on_nonfinite=settings.on_nonfinite, parallel=parallel, compile=settings.compile)
    seconds, started = monitor.seconds, time.monotonic()
    for epoch in fit(method, loader, recipe, random=random, state=state):
        seconds += time.monotonic() - started
        row = monitor.add(epoch, method.model, seconds)
        with saver.saved(epoch, monitor):
            report(Progress(spec, epoch.number, monitor.epochs, row, note=epoch.note))
        started = time.monotonic()
    memory, average = hardware.peak_memory(settings.device) if measurable else None, epoch.average()
    return TrainedRun(
        monitor.select_network(method.model),
        spec.method.criterion.load().head,
        training_info(spec, method, settings, loader, monitor, memory, machines, digest),
        pd.DataFrame(monitor.rows),
        monitor.best.get("weights"),
        None if average is None else average.state_dict(),
        predict_auxiliary(method, average, evaluation_loader(data.test, loader.device)),
        monitor.held_out_predictions,
    )


def load_state(
    checkpointer: Checkpointer | None, teacher: Teacher | None, spec: Run
) -> tuple[str, dict[str, Any] | None]:
    """Return the digest of a run's teacher, "" if it needs none, and the saved state of the run if it had that one.

    The teacher is another one if its file was lost, and it was trained again with other results.
    """
    digest = digest_weights(teacher.network()) if teacher is not None and spec.method.needs_teacher else ""
    state = None if checkpointer is None else checkpointer.load()
    return digest, state if state is not None and state.get("teacher", digest) == digest else None


def predict_auxiliary(method: Method, average: Network | None, test: Loader) -> dict[str, NDArray[np.float32]]:
    """Compute the logits on the test set of all that is evaluated next to the method's network, by name: (n, K)."""
    averaged = {} if average is None else {AVERAGED: predict_logits(average, test)}
    return predict_auxiliary_logits(method, test) | averaged


def find_machines(state: Mapping[str, Any] | None, spec: Run, settings: Settings) -> tuple[list[Machine], str]:
    """Return the machines of a run, the present one last, and a note if it continues on another than before."""
    earlier = [Machine.model_validate_json(text) for text in (state or {}).get("machines", ())]
    bf16 = settings.bf16_of(spec.role)
    return continue_on(earlier, Machine(**hardware.machine_properties(settings.device, bf16, settings.compile)))


def report_earlier_epochs(
    rows: Sequence[Mapping[str, Any]], spec: Run, epochs: int, report: Report, note: str = ""
) -> None:
    """Report the epochs that an earlier process finished, so that `report` receives all epochs of the run.

    Args:
        note: on how the run continues.
    """
    for row in rows:
        is_last = row is rows[-1]
        report(Progress(spec, row["epoch"], epochs, dict(row), is_earlier=True, note=note if is_last else ""))


def training_info(
    spec: Run,
    method: Method,
    settings: Settings,
    loader: Loader,
    monitor: EpochMonitor,
    peak_memory: int | None,
    machines: list[Machine],
    teacher: str,
) -> TrainingInfo:
    """Return how a run was trained; `teacher` is the digest of its teacher."""
    samples, seconds = len(loader.view), monitor.seconds
    return TrainingInfo(
        seconds=seconds,
        updates=monitor.epochs * settings.recipe_of(spec).count_updates(len(loader)),
        samples=samples,
        images_per_second=monitor.epochs * samples / max(seconds, 1e-9),
        peak_memory=peak_memory,
        early_epoch=monitor.best.get("epoch"),
        finished=time.time(),
        precision="bf16" if settings.bf16_of(spec.role) else "fp32",
        device=settings.device,
        torch=torch.__version__,
        version=method_version(spec.method),
        hyperparameters=spec.method.hyperparameters(method.resolved),
        machines=machines,
        skipped_updates=monitor.skipped_updates,
        weights=digest_weights(method.model),
        teacher=teacher,
    )


def model_card(
    trained: TrainedRun,
    spec: Run,
    settings: Settings,
    source: Source,
    **origin: Any,
) -> dict[str, Any]:
    """Return what rebuilds a trained network and prepares its images, and where it is from.

    Args:
        source: the data set, whose stored images have a margin around what networks see.
        origin: further entries, such as dataset and scenario.
    """
    net = trained.model
    return {
        "model": settings.teacher if spec.role == TEACHER else settings.student,
        "shape": source.shape,
        "crop_share": source.shape[1] / source.stored_shape[1],
        "classes": list(source.classes),
        "mean": [round(value, 7) for value in net.mean.flatten().tolist()],
        "std": [round(value, 7) for value in net.std.flatten().tolist()],
        "image_size": net.image_size,
        "interpolation": net.interpolation,
        "head": trained.head,
        "role": spec.role,
        "method": spec.method.text,
        "criterion": spec.method.criterion_text,
        "oracle": spec.method.oracle,
        "seed": spec.seed,
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        **({"stopped_at": trained.info.early_epoch} if settings.stops_early(spec.role) else {}),
        **origin,
    }


def require_network(teacher: Teacher | None, spec: Run) -> Network:
    """Return the teacher's network, which a method that asks for one must be given."""
    if teacher is None:
        raise TypeError(f"'{spec.method.text}' needs a teacher: run(..., teacher=Teacher(network))")
    return teacher.network()


class Estimate(NamedTuple):
    """What a run would take, and what it would be trained with.

    Attributes:
        seconds: of all updates.
        resolved: hyperparameters whose defaults are derived from data and networks.
    """

    updates: int
    seconds: float
    resolved: Mapping[str, Any]


def estimate_training(
    view: View, spec: Run, settings: Settings, *, teacher: Network | None = None, steps: int = 4
) -> Estimate:
    """Estimate what a run would take from a few timed updates."""
    method = check_constructible(view, spec, settings, teacher=teacher)
    loader = training_loader(training_rows(view, spec), method, spec, settings)
    recipe = settings.recipe_of(spec)
    seconds = sum(
        engine.seconds_per_step(method, phase, loader, recipe, steps) * len(loader) * recipe.phase_epochs(phase)
        for phase in method.phases()
    )
    updates = engine.total_epochs(method, recipe) * recipe.count_updates(len(loader))
    return Estimate(updates, seconds, method.resolved)
