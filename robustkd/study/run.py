"""A run as a function: construct the method, train it from where a checkpoint left it, and evaluate it, all in memory.

    outcome = run(data, Run("student", MethodSpec.parse("hinton"), seed=0), settings, teacher=Teacher(net))

Nothing here knows a folder: `run_folder.py` writes files around it, a notebook, a process pool or the estimator calls it as
it is. Seed s fixes the first weights, the order of batches and all draws of the method.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
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
from robustkd.data.paired_views import PAIRED_VIEWS
from robustkd.data.view import View
from robustkd.errors import UsageError
from robustkd.method import Method
from robustkd.models import MODELS
from robustkd.models.build import build_network
from robustkd.models.initialisation import seeded_initialisation
from robustkd.models.net import Frozen, Network
from robustkd.study.evaluate import Evaluation, Teacher, evaluate, evaluation_loader
from robustkd.study.plan import Progress, Report, Run, Settings
from robustkd.study.results import MONITORED, TEACHER, RunResult, TrainingInfo
from robustkd.study.versions import method_version
from robustkd.training import engine, hardware
from robustkd.training.build import Ingredients, build_method
from robustkd.training.inference import compute_accuracy, predict_auxiliary_logits, predict_logits
from robustkd.types import DatasetInfo

Weights = Mapping[str, Tensor]


class Checkpointer(Protocol):
    """Keeps the state of an unfinished run."""

    interval: float  # seconds between two saves

    def load(self) -> dict[str, Any] | None:
        """Return the saved state, or None."""

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the saved state."""


@dataclass
class TrainedRun:
    """What training results in.

    Attributes:
        model: the network of the last epoch, in evaluation mode.
        head: of the network, as the criterion requires it.
        info: how it was trained.
        history: a row per epoch.
        early_weights: of the epoch with the best held-out accuracy; None without held-out rows.
        auxiliary: logits on the test set that the method evaluates next to its network, by name: (n, K).
    """

    model: Network
    head: str
    info: TrainingInfo
    history: pd.DataFrame
    early_weights: Weights | None = None
    auxiliary: dict[str, NDArray[np.float32]] = field(default_factory=dict)


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
        report: called after every epoch.

    Raises:
        UsageError: method, network and data do not go together.
        DivergedError: a term of the loss is not finite.
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


def seeded_network(view: View, spec: Run, settings: Settings, number: int = 0) -> Network:
    """Build a run's network with the first weights that its seed draws.

    Args:
        number: which of several networks, for methods that train more than one.
    """
    word = settings.teacher if spec.role == TEACHER else settings.student
    head = spec.method.criterion.load().head
    return untrained_network(view, word, settings, head, seeds.derive(spec.seed, "init", spec.role, number))


def untrained_network(view: View, word: str, settings: Settings, head: str, seed: int) -> Network:
    """Build a network for a view's images and classes, on the settings' device."""
    net = build_network(
        MODELS.parse(word),
        shape=view.sources[0].shape,
        classes=len(view.classes),
        mean=settings.mean,
        std=settings.std,
        head=head,
        bf16=settings.bf16,
        seed=seed,
    )
    return net.to(settings.device)


def dataset_info(view: View) -> DatasetInfo:
    """Return what a method may know about a training view."""
    return DatasetInfo(len(view), tuple(view.counts.tolist()), view.sources[0].shape)


def construct_method(
    view: View,
    spec: Run,
    settings: Settings,
    random: torch.Generator,
    *,
    teacher: Callable[[], Network],
    init: Network | None = None,
) -> Method:
    """Construct a run's method on the settings' device.

    Args:
        view: the training rows.
        random: the method's own generator.
        teacher: called if the method needs a teacher.
        init: a network whose weights the student starts from.

    Raises:
        UsageError: method, network and data do not go together.
    """
    data = dataset_info(view)
    criterion = partial(spec.method.criterion.load(), data, **spec.method.criterion.kwargs())

    def student(number: int = 0) -> Network:
        net = seeded_network(view, spec, settings, number)
        if init is not None and spec.role != TEACHER and number == 0:
            load_initial_weights(net, init, settings)
        return net

    ingredients: Ingredients = {
        "student": student,
        "students": lambda: lambda count: [student(number) for number in range(count)],
        "teacher": lambda: Frozen(teacher()),
        "data": lambda: data,
        "criterion": lambda: criterion,
        "random": lambda: random,
    }
    with seeded_initialisation(seeds.derive(spec.seed, "init", spec.role, "method")):  # of the method's adapters
        method = build_method(spec.method, ingredients).to(settings.device)
    for text in method.views:  # an unknown view is refused before anything is trained
        PAIRED_VIEWS.parse(text).kwargs()
    return method


def load_initial_weights(net: Network, init: Network, settings: Settings) -> None:
    """Copy another network's weights.

    Raises:
        UsageError: they are of another network.
    """
    try:
        net.load_state_dict(init.state_dict())
    except RuntimeError:
        raise UsageError(f"--init: its weights are not those of a {settings.student}") from None


def training_loader(view: View, method: Method, settings: Settings, seed: int = 0) -> Loader:
    """Return the batches that a method is trained on."""
    device = torch.device(settings.device)
    return Loader(view, settings.batch, device, seed=seed, augment=settings.augment, views=method.views)


def sample_rows(view: View) -> View:
    """Select the rows of a view to evaluate after every epoch: the same for every seed, in order."""
    keys = seeds.row_keys(0, view.sample_ids)
    return view.take(np.sort(np.argsort(keys, kind="stable")[:MONITORED]))


def memorisation_rates(net: Network, loader: Loader) -> dict[str, float]:
    """Return the shares of wrongly labelled rows predicted as their wrong label and as their true class."""
    view = loader.view
    if not len(view) or view.truth is None:
        return {}
    predicted = predict_logits(net, loader).argmax(axis=1)
    return {
        "memorised": float((predicted == view.labels).mean()),
        "recovered": float((predicted == view.truth).mean()),
    }


class EpochMonitor:
    """Evaluates the network after every epoch, and keeps the weights of the best one on held-out rows."""

    def __init__(self, data: Splits, settings: Settings, state: Mapping[str, Any] | None) -> None:
        device = torch.device(settings.device)
        corrupted = data.train.take(data.train.corrupted)
        views = sample_rows(data.test), data.held_out, sample_rows(corrupted)
        self.test, self.held_out, self.corrupted = (evaluation_loader(view, device) for view in views)
        self.rows: list[dict[str, Any]] = [] if state is None else json.loads(state["rows"])
        self.best: dict[str, Any] = {"accuracy": -1.0} if state is None else state["best"]

    @property
    def seconds(self) -> float:
        """Training time so far."""
        return float(self.rows[-1]["seconds"]) if self.rows else 0.0

    def add(self, epoch: engine.Epoch, net: Network, seconds: float) -> dict[str, Any]:
        """Evaluate an epoch; return its row."""
        row: dict[str, Any] = {"epoch": epoch.number, "phase": epoch.phase, "seconds": seconds, **epoch.terms}
        row["accuracy"] = compute_accuracy(net, self.test)
        row["held_out_accuracy"] = compute_accuracy(net, self.held_out)
        row |= memorisation_rates(net, self.corrupted)
        self.rows.append(row)
        if row["held_out_accuracy"] > self.best["accuracy"]:
            weights = {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}
            self.best = {"accuracy": row["held_out_accuracy"], "epoch": epoch.number, "weights": weights}
        return row

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint needs of it."""
        return {"rows": json.dumps(self.rows), "best": self.best}


def train(
    data: Splits,
    spec: Run,
    settings: Settings,
    *,
    teacher: Teacher | None = None,
    init: Network | None = None,
    checkpointer: Checkpointer | None = None,
    report: Report = lambda progress: None,
) -> TrainedRun:
    """Train a run in memory, from its checkpoint if there is one. Arguments and errors are those of `run`."""
    random = torch.Generator(torch.device(settings.device)).manual_seed(seeds.derive(spec.seed, "method"))
    method = construct_method(
        data.train, spec, settings, random, teacher=lambda: require_teacher(teacher, spec).network(), init=init
    )
    loader = training_loader(data.train, method, settings, seeds.derive(spec.seed, "run"))
    state = checkpointer.load() if checkpointer is not None else None
    monitor = EpochMonitor(data, settings, state)
    epochs = engine.total_epochs(method, settings.recipe)
    measurable = hardware.reset_peak_memory(settings.device)
    seconds, saved, started = monitor.seconds, time.monotonic(), time.monotonic()
    for epoch in engine.fit(method, loader, settings.recipe, random=random, state=state):
        seconds += time.monotonic() - started
        row = monitor.add(epoch, method.model, seconds)
        if checkpointer is not None and time.monotonic() - saved > checkpointer.interval and epoch.number < epochs:
            checkpointer.save({**epoch.state(), **monitor.state()})
            saved = time.monotonic()
        report(Progress(spec, epoch.number, epochs, row))
        started = time.monotonic()
    memory = hardware.peak_memory(settings.device) if measurable else None
    return TrainedRun(
        method.model,
        spec.method.criterion.load().head,
        training_info(spec, settings, loader, epochs, seconds, memory, monitor.best.get("epoch")),
        pd.DataFrame(monitor.rows),
        monitor.best.get("weights"),
        predict_auxiliary_logits(method, evaluation_loader(data.test, torch.device(settings.device))),
    )


def training_info(
    spec: Run,
    settings: Settings,
    loader: Loader,
    epochs: int,
    seconds: float,
    peak_memory: int | None,
    early_epoch: int | None,
) -> TrainingInfo:
    """Return how a run was trained."""
    samples = len(loader.view)
    return TrainingInfo(
        seconds=seconds,
        updates=epochs * len(loader),
        samples=samples,
        images_per_second=epochs * samples / max(seconds, 1e-9),
        peak_memory=peak_memory,
        early_epoch=early_epoch,
        finished=time.time(),
        precision="bf16" if settings.bf16 else "fp32",
        device=settings.device,
        torch=torch.__version__,
        version=method_version(spec.method),
        hyperparameters=spec.method.hyperparameters(),
    )


def model_card(
    trained: TrainedRun,
    spec: Run,
    settings: Settings,
    shape: tuple[int, int, int],
    classes: Sequence[str],
    **origin: Any,
) -> dict[str, Any]:
    """Return what rebuilds a trained network, and where it is from.

    Args:
        shape: (C, H, W) of the images.
        classes: names, in label order.
        origin: further entries, such as dataset and scenario.
    """
    return {
        "model": settings.teacher if spec.role == TEACHER else settings.student,
        "shape": shape,
        "classes": list(classes),
        "mean": settings.mean,
        "std": settings.std,
        "head": trained.head,
        "role": spec.role,
        "method": spec.method.text,
        "criterion": spec.method.criterion_text,
        "seed": spec.seed,
        "parameters": sum(parameter.numel() for parameter in trained.model.parameters()),
        **origin,
    }


def require_teacher(teacher: Teacher | None, spec: Run) -> Teacher:
    """Return the teacher, which a method that asks for one must be given."""
    if teacher is None:
        raise TypeError(f"'{spec.method.text}' needs a teacher: run(..., teacher=Teacher(network))")
    return teacher


def check_constructible(
    view: View, spec: Run, settings: Settings, *, teacher: Network | None = None, init: Network | None = None
) -> Method:
    """Construct a run's method with an untrained teacher, so that what cannot work is refused before any training.

    Args:
        teacher: a trained one, if there is one.
        init: a network whose weights the student starts from.

    Raises:
        UsageError: method, network and data do not go together.
    """
    random = torch.Generator(settings.device).manual_seed(0)

    def untrained() -> Network:
        return untrained_network(view, settings.teacher, settings, "linear", seeds.derive(0, "init"))

    return construct_method(
        view, spec, settings, random, teacher=untrained if teacher is None else lambda: teacher, init=init
    )


def estimate_training(
    view: View, spec: Run, settings: Settings, *, teacher: Network | None = None, steps: int = 4
) -> tuple[int, float]:
    """Return a run's number of updates and the seconds they would take, from a few timed ones."""
    method = check_constructible(view, spec, settings, teacher=teacher)
    loader = training_loader(view, method, settings)
    seconds = sum(
        engine.seconds_per_step(method, phase, loader, settings.recipe, steps)
        * len(loader)
        * settings.recipe.phase_epochs(phase)
        for phase in method.phases()
    )
    return engine.total_epochs(method, settings.recipe) * len(loader), seconds
