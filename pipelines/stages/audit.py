"""audit: estimate the label noise of a data set from networks that were not trained on the labels they assess.

OUT/NAME-DIGEST/fold-0.npz        probabilities, reused by an audit with the same options
                suspects.csv      suspicious labels, worst first
                classes.csv       per class: labels given, estimated share that is wrong, estimated true size
                transition.csv    estimated: row = true class, column = given label; matrix(file=...) reads it
                report.html       the suspicious images
                audit.json        options, metrics and versions
                pruned.csv, relabelled.csv, each with its .json, if requested: manifests for a study
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import scenarios
from pipelines import planning, session
from pipelines.auditing.documents import write_audit
from pipelines.auditing.findings import AuditedRows, AuditFindings, fold_notes
from pipelines.auditing.summary import describe_reliability, print_findings
from pipelines.cli_options import AuditOptions
from pipelines.console import console, format_duration
from pipelines.data_summary import split_data
from pipelines.folder_names import legal_folder_name, short_dataset_name
from robustkd.data import manifest
from robustkd.data.augmentations import recorded_augment
from robustkd.data.view import Labels, Source, View, concat
from robustkd.errors import UsageError
from robustkd.hashing import digest
from robustkd.label_audit import confident_learning, out_of_fold
from robustkd.label_audit.probabilities_file import load_probabilities
from robustkd.models import MODELS
from robustkd.plugins import plugin_digests
from robustkd.study.run_folder import load_source
from robustkd.study.versions import RESULTS_VERSION
from robustkd.training import hardware
from robustkd.training.recipe import Recipe

SECONDS_BETWEEN_LINES = 60  # of progress, where there is no terminal


class FoldTraining(NamedTuple):
    """The training of a network for each fold.

    Attributes:
        fold: (n,) the fold of each row.
    """

    fold: Labels
    config: out_of_fold.TrainingConfig


@dataclass(frozen=True)
class AuditPlan:
    """An audit that has been checked but not started.

    Attributes:
        view: training rows, followed by held-out rows.
        held_out: (n,) which rows of `view` are held out.
        training: how networks are trained; None if the user gave probabilities.
        probabilities: (N, K) as given by the user, for all rows of the source.
    """

    options: AuditOptions
    source: Source
    view: View
    held_out: NDArray[np.bool_]
    test: View
    folder: Path
    training: FoldTraining | None = None
    probabilities: out_of_fold.ClassProbabilities | None = None


def main(options: AuditOptions) -> None:
    """Audit the labels of a data set; write and print the findings.

    Raises:
        robustkd.errors.UsageError: an option is invalid, or the data cannot be audited with them.
    """
    audit_source(options, load_audited(options))


def load_audited(options: AuditOptions) -> Source:
    """Check names and output folder, then read the data set.

    Raises:
        robustkd.errors.UsageError: a name is unknown, the folder cannot be written, or the data cannot be loaded.
    """
    scenarios.parse(options.scenario)
    MODELS.parse(options.net).kwargs()
    planning.require_writable(Path(options.out))
    return load_source(options)


def audit_source(options: AuditOptions, source: Source) -> None:
    """Audit a data set that has been read, and print the findings.

    Raises:
        robustkd.errors.UsageError: the data cannot be audited, or are not to be pruned or relabelled by these findings.
    """
    findings, folder, changes = execute_audit(options, source)
    print_findings(options, findings, folder, changes)
    require_believable(options, findings)


def require_believable(options: AuditOptions, findings: AuditFindings) -> None:
    """Refuse to prune or relabel by an estimate that cannot be believed.

    Raises:
        robustkd.errors.UsageError: it cannot, and the user does not insist.
    """
    if (options.prune or options.relabel) and not findings.may_be_changed(options.force):
        option = "--prune" if options.prune else "--relabel"
        reason = describe_reliability(findings.train)
        raise UsageError(f"{option} is refused: {reason}; --force writes the manifest anyway")


def execute_audit(options: AuditOptions, source: Source) -> tuple[AuditFindings, Path, list[str]]:
    """Audit a data set that has been read, and write the findings.

    Returns:
        The findings, the folder they are in, and sentences about what was pruned or relabelled.
    """
    plan = plan_audit(options, source)
    with session.study_lock(plan.folder), cpu_threads(options.threads or hardware.count_cores()):
        findings = assess_labels(plan)
        changes = write_audit(options, findings, plan.training.config if plan.training else None, plan.folder)
    return findings, plan.folder, changes


def plan_audit(options: AuditOptions, source: Source) -> AuditPlan:
    """Apply the scenario and assign the folds; nothing is written.

    Raises:
        robustkd.errors.UsageError: an option is invalid, or the data cannot be audited with them.
    """
    scenario = scenarios.parse(options.scenario)
    if options.probabilities is not None and options.scenario != "clean":
        raise UsageError(
            "--probabilities are of networks trained on the labels as given, so --scenario should be clean"
        )
    source, rows, *_ = split_data(options, source)
    splits = manifest.build_splits(scenario, source, rows, options.seed)
    view = concat(splits.train, [splits.train, splits.held_out])
    held_out = np.arange(len(view)) >= len(splits.train)
    if options.probabilities is not None:
        given = load_probabilities(options.probabilities, len(source.labels), len(source.classes))
        folder = Path(options.out) / audit_name(options, view, splits.test, {"probabilities": digest(given)})
        return AuditPlan(options, source, view, held_out, splits.test, folder, probabilities=given)
    training = plan_training(options, view)
    config = asdict(training.config) | {"augment": recorded_augment(training.config.augment)}
    decisive = {**config, "folds": digest(training.fold.astype("<i8"))}  # as scikit-learn assigns them
    folder = Path(options.out) / audit_name(options, view, splits.test, decisive)
    return AuditPlan(options, source, view, held_out, splits.test, folder, training)


def plan_training(options: AuditOptions, view: View) -> FoldTraining:
    """Assign the folds, and check that a network can be built."""
    device = hardware.resolve_device(options.device)
    config = out_of_fold.TrainingConfig(
        options.net,
        Recipe(epochs=options.epochs, lr=options.lr, warmup=options.warmup),
        options.batch,
        options.augment or "none",
        device,
        hardware.use_bf16(options.precision, device, options.net),
        options.seed,
    )
    moments = (0.5,) * view.sources[0].shape[0]
    # A network that cannot be built is reported before anything is written.
    out_of_fold.build_fold_network(view, config, 0, (moments, moments))
    return FoldTraining(out_of_fold.assign_folds(view, options.folds, options.seed), config)


def audit_name(options: AuditOptions, view: View, test: View, probabilities: Mapping[str, Any]) -> str:
    """Return a recognisable name with a digest of all that decides the probabilities."""
    name = short_dataset_name(options.dataset)
    name += "" if options.scenario == "clean" else f"-{options.scenario}"
    decisive = {
        **probabilities,
        "drawn": [view.digest, test.digest],
        "results_version": RESULTS_VERSION,
        "plugins": plugin_digests(options.plug),
    }
    short = digest(text=json.dumps(decisive, sort_keys=True))[:8]
    return f"{legal_folder_name(name) or 'audit'}-{short}"


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Set the number of torch's CPU threads for the duration of the context."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def assess_labels(plan: AuditPlan) -> AuditFindings:
    """Predict every label by networks that were not trained on it, or by the user's probabilities, and assess it."""
    options, view, test, folder = plan.options, plan.view, plan.test, plan.folder
    if options.fresh and folder.exists():
        folder.rename(folder.with_name(f"{folder.name}.{time.strftime('%Y%m%d-%H%M%S')}"))
    folder.mkdir(parents=True, exist_ok=True)
    notes: list[str] = []
    seconds = 0.0
    if plan.training is None:
        assert plan.probabilities is not None
        own, other = plan.probabilities[view.rows], plan.probabilities[test.rows]
        assessable, test_assessable = has_prediction(own), has_prediction(other)
        if missing := int((~assessable).sum()):
            notes.append(f"{missing} training rows have no probabilities and are not assessed")
    else:
        own, other, seconds = predict_by_folds(plan, plan.training)
        assessable = ~out_of_fold.unseen_class_mask(view.labels, plan.training.fold, len(view.classes))
        test_assessable = np.ones(len(test), bool)
        notes += fold_notes(view, plan.training.fold, ~assessable, options.folds)
    return AuditFindings(
        plan.source,
        AuditedRows("train", view, own, confident_learning.find_label_issues(view.labels, own, assessable)),
        plan.held_out,
        AuditedRows("test", test, other, confident_learning.find_label_issues(test.labels, other, test_assessable)),
        notes,
        seconds,
    )


def has_prediction(probabilities: out_of_fold.ClassProbabilities) -> NDArray[np.bool_]:
    """Return a mask of the rows that are not NaN: (n, K) -> (n,)."""
    finite: NDArray[np.bool_] = np.isfinite(probabilities.sum(axis=1))
    return finite


def predict_by_folds(
    plan: AuditPlan, training: FoldTraining
) -> tuple[out_of_fold.ClassProbabilities, out_of_fold.ClassProbabilities, float]:
    """Train the networks of the folds that are not finished; return the probabilities and the seconds of all folds."""
    options, view = plan.options, plan.view
    todo, seconds = out_of_fold.estimate_seconds(view, *training, plan.folder)
    time_needed = f": about {format_duration(seconds)}" if todo else ""
    time_needed += f" for the {todo} that are left" if 0 < todo < options.folds else ""
    console.print(
        f"{len(view)} training labels of {plan.source.name} in {options.folds} folds; for each, one network ({options.net}, "
        f"{options.epochs} epochs) is trained on the others{time_needed}",
        markup=False,
    )
    monitor = FoldMonitor(options.folds, options.epochs)
    with monitor.progress:
        own, other = out_of_fold.out_of_fold_probabilities(
            view, training.fold, plan.test, training.config, plan.folder, monitor.report
        )
    return own, other, monitor.seconds


class FoldMonitor:
    """Progress for the user: a bar over all epochs on a terminal, elsewhere a line per minute, and one per finished fold.

    Attributes:
        seconds: total time of the finished folds.
    """

    def __init__(self, folds: int, epochs: int) -> None:
        self.folds, self.seconds, self.last_line = folds, 0.0, time.monotonic()
        self.trained, self.trained_seconds = 0, 0.0
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
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
        self.progress.console.print(line, markup=False)
