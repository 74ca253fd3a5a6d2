"""What an audit's label issues are found from: networks trained for each fold, or a linear probe of a pretrained network."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipelines.auditing.findings import fold_notes
from pipelines.cli_options import AuditOptions
from pipelines.console import console, format_duration
from robustkd.data.augmentations import recorded_augment
from robustkd.data.view import Labels, View
from robustkd.errors import UsageError
from robustkd.hashing import digest
from robustkd.label_audit import out_of_fold, probe
from robustkd.models import MODELS
from robustkd.models.net import Frozen, Network
from robustkd.models.weight_sources import carries_weights
from robustkd.study.plan import recipe_of_values
from robustkd.study.recipe_presets import AUGMENTATION, find_preset, resolve_recipe
from robustkd.training import hardware

SECONDS_BETWEEN_LINES = 60  # of progress, where there is no terminal
OF_TRAINING = ("epochs", "batch", "lr", "warmup", "augment")  # options that a probe does not use


class AuditProbabilities(NamedTuple):
    """Probabilities of rows by networks or classifiers that were not trained on them.

    Attributes:
        own: (n, K) of the training and held-out rows.
        other: (m, K) of the test rows.
        seconds: of all folds, including those that were trained earlier.
    """

    own: out_of_fold.ClassProbabilities
    other: out_of_fold.ClassProbabilities
    seconds: float


@dataclass(frozen=True)
class FoldTraining:
    """The training of a network for each fold.

    Attributes:
        folds: (n,) the fold of each row.
    """

    folds: Labels
    config: out_of_fold.TrainingConfig

    def identity(self) -> dict[str, Any]:
        """Return what decides the probabilities, apart from the rows."""
        recipe, augment = self.config.recipe.identity(), recorded_augment(self.config.augment)
        folds = digest(self.folds.astype("<i8"))  # as scikit-learn assigns them
        return {**asdict(self.config), "recipe": recipe, "augment": augment, "folds": folds}

    def unassessable(self, view: View) -> NDArray[np.bool_]:
        """Return the rows whose class is in no other fold: (n,)."""
        return out_of_fold.unseen_class_mask(view.labels, self.folds, len(view.classes))

    def notes(self, view: View, count: int) -> list[str]:
        """Return notes about classes that could not be distributed over all of `count` folds."""
        return fold_notes(view, self.folds, self.unassessable(view), count)

    def predict(self, options: AuditOptions, view: View, test: View, folder: Path) -> AuditProbabilities:
        """Train the networks of the folds that are not finished, and predict all rows."""
        todo, seconds = out_of_fold.estimate_seconds(view, self.folds, self.config, folder)
        time_needed = f": about {format_duration(seconds)}" if todo else ""
        time_needed += f" for the {todo} that are left" if 0 < todo < options.folds else ""
        console.print(
            f"{len(view)} training labels of {view.sources[0].name} in {options.folds} folds; for each, one network"
            f" ({options.net}, {self.config.recipe.epochs} epochs) is trained on the others{time_needed}",
        )
        monitor = FoldMonitor(options.folds, self.config.recipe.epochs)
        with monitor.progress:
            own, other = out_of_fold.out_of_fold_probabilities(
                view, self.folds, test, self.config, folder, monitor.report
            )
        return AuditProbabilities(own, other, monitor.seconds)


@dataclass(frozen=True)
class Probing:
    """A linear probe of a network that is not trained.

    Attributes:
        divisions: the fold of each row, (n,) each.
        net: embeds the images.
    """

    divisions: list[Labels]
    config: probe.ProbeConfig
    net: Network

    def identity(self) -> dict[str, Any]:
        """Return what decides the probabilities, apart from the rows."""
        folds = digest(*(folds.astype("<i8") for folds in self.divisions))
        return {**asdict(self.config), "probe": Frozen(self.net).digest, "folds": folds}

    def unassessable(self, view: View) -> NDArray[np.bool_]:
        """Return the rows whose class is in no other fold in one of the divisions: (n,)."""
        return probe.unseen_in_any(view, self.divisions)

    def notes(self, view: View, count: int) -> list[str]:
        """Return notes about classes that could not be distributed over all of `count` folds."""
        return fold_notes(view, self.divisions[0], self.unassessable(view), count)

    def predict(self, options: AuditOptions, view: View, test: View, folder: Path) -> AuditProbabilities:
        """Embed the images and predict all rows by linear classifiers, unless this was done before."""
        console.print(
            f"{len(view)} training labels of {view.sources[0].name} in {options.folds} folds: each image is embedded once by"
            f" {options.net}, which is not trained, and for each fold a linear classifier is fitted on the others",
        )
        monitor = EmbeddingMonitor(len(view) + len(test))
        with monitor.progress:
            found = probe.probe_probabilities(
                view, self.divisions, test, self.net, folder / "probe.npz", monitor.report
            )
        agreement = float((found.own.argmax(axis=1) == view.labels).mean())
        time_taken = "reused" if found.reused else format_duration(found.seconds)
        console.print(
            f"{100 * agreement:.1f} % of the labels are predicted out of fold, with C = {found.strength:g} ({time_taken})",
        )
        return AuditProbabilities(found.own, found.other, found.seconds)


def plan_predictions(options: AuditOptions, view: View) -> FoldTraining | Probing:
    """Assign the folds, and check that a network can be built, before anything is written.

    Raises:
        UsageError: an option is invalid, or the rows cannot be divided into folds.
    """
    device = hardware.resolve_device(options.device)
    half = hardware.use_bf16(options.precision, device, options.net)
    if uses_probe(options):
        side = None if options.image_size == "auto" else options.image_size
        config = probe.ProbeConfig(options.net, side, device, half, options.seed)
        net = probe.build_probe_network(view, config)
        return Probing(probe.divide_into_folds(view, options.folds, options.seed), config, net)
    preset = find_preset(options.net) or "scratch"
    given = {"epochs": options.epochs, "lr": options.lr, "warmup": options.warmup}
    training = out_of_fold.TrainingConfig(
        options.net,
        recipe_of_values(resolve_recipe(preset, given)),
        options.batch,
        options.augment or AUGMENTATION[preset],
        device,
        half,
        options.seed,
    )
    moments = (0.5,) * view.sources[0].shape[0]
    out_of_fold.build_fold_network(view, training, 0, (moments, moments))
    return FoldTraining(out_of_fold.assign_folds(view, options.folds, options.seed), training)


def uses_probe(options: AuditOptions) -> bool:
    """Return whether labels are judged by a linear probe: on request, and by default where the network carries weights.

    Raises:
        UsageError: an option contradicts the probe, or the network has random weights.
    """
    if options.probabilities is not None:
        if options.probe:
            raise UsageError("--probe and --probabilities are two sources of the same probabilities: give one of them")
        return False
    spec = MODELS.parse(options.net)
    has_weights = carries_weights(spec)
    if options.probe and not has_weights:
        raise UsageError(
            f"--probe: net '{spec.text}' starts from random weights, whose embeddings say little about classes; choose a"
            " pretrained one, as in --net 'timm:resnet50(pretrained=true)'"
        )
    if not (has_weights if options.probe is None else options.probe):
        return False
    given = [name for name in OF_TRAINING if getattr(options, name) != AuditOptions.__dataclass_fields__[name].default]
    if given:
        raise UsageError(
            f"--{given[0]} is of networks that are trained for each fold, but net '{spec.text}' is probed, not trained: leave"
            f" --{given[0]} out, or add --no-probe"
        )
    return True


class EmbeddingMonitor:
    """Progress of embedding for the user: a bar on a terminal, elsewhere a line per minute."""

    def __init__(self, count: int) -> None:
        self.count, self.start, self.last_line = count, time.monotonic(), time.monotonic()
        self.progress = progress_bar()
        self.bar = self.progress.add_task("images", total=count)

    def report(self, done: int) -> None:
        """Report the number of images embedded so far."""
        self.progress.update(self.bar, completed=done)
        now = time.monotonic()
        if not console.is_terminal and now - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line, left = now, (self.count - done) * (now - self.start) / done
            console.print(f"{done} of {self.count} images, about {format_duration(left)} left")


def progress_bar() -> Progress:
    """Return a progress bar that is shown on terminals only."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


class FoldMonitor:
    """Progress for the user: a bar over all epochs on a terminal, elsewhere a line per minute, and one per finished fold.

    Attributes:
        seconds: total time of the finished folds.
    """

    def __init__(self, folds: int, epochs: int) -> None:
        self.folds, self.seconds, self.last_line = folds, 0.0, time.monotonic()
        self.trained, self.trained_seconds = 0, 0.0
        self.progress = progress_bar()
        self.bar = self.progress.add_task("epochs", total=folds * epochs)

    def report(self, event: out_of_fold.FoldProgress) -> None:
        """Report the end of an epoch or of a fold."""
        self.progress.update(self.bar, completed=event.fold * event.epochs + event.epoch)
        fold = f"[{event.fold + 1}/{self.folds}]"
        if event.agreement is None:
            if not console.is_terminal and time.monotonic() - self.last_line >= SECONDS_BETWEEN_LINES:
                self._print(f"{fold} epoch {event.epoch} of {event.epochs}")
            return
        self.seconds += event.seconds
        self._print(
            f"{fold} {100 * event.agreement:.1f} % of the fold's labels are predicted ({self._describe_time(event)})"
        )

    def _describe_time(self, event: out_of_fold.FoldProgress) -> str:
        """Describe the time of a finished fold, and that of the folds to come."""
        if event.reused:
            return "reused"
        self.trained += 1
        self.trained_seconds += event.seconds
        left = (self.folds - event.fold - 1) * self.trained_seconds / self.trained
        return format_duration(event.seconds) + (f", about {format_duration(left)} left" if left else "")

    def _print(self, line: str) -> None:
        self.last_line = time.monotonic()
        self.progress.console.print(line)
