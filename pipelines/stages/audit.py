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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import scenarios
from pipelines import planning, session
from pipelines.auditing.documents import write_audit
from pipelines.auditing.findings import AuditedRows, AuditFindings, fold_notes
from pipelines.auditing.summary import print_findings
from pipelines.cli_options import AuditOptions
from pipelines.console import console
from pipelines.data_summary import split_data
from pipelines.folder_names import legal_folder_name, short_dataset_name
from robustkd.data import manifest
from robustkd.data.view import Labels, Source, View, concat
from robustkd.hashing import digest
from robustkd.label_audit import confident_learning, out_of_fold
from robustkd.models import MODELS
from robustkd.plugins import plugin_digests
from robustkd.study.run_folder import load_source
from robustkd.study.versions import RESULTS_VERSION
from robustkd.training import hardware
from robustkd.training.recipe import Recipe


@dataclass(frozen=True)
class AuditPlan:
    """An audit that has been checked but not started.

    Attributes:
        view: training rows, followed by held-out rows.
        held_out: (n,) which rows of `view` are held out.
        fold: (n,) the fold of each row of `view`.
    """

    options: AuditOptions
    source: Source
    view: View
    held_out: NDArray[np.bool_]
    test: View
    fold: Labels
    config: out_of_fold.TrainingConfig
    folder: Path


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
    """Audit a data set that has been read, and print the findings."""
    print_findings(options, *execute_audit(options, source))


def execute_audit(options: AuditOptions, source: Source) -> tuple[AuditFindings, Path, list[str]]:
    """Audit a data set that has been read, and write the findings.

    Returns:
        The findings, the folder they are in, and sentences about what was pruned or relabelled.
    """
    plan = plan_audit(options, source)
    with session.study_lock(plan.folder), cpu_threads(options.threads or hardware.count_cores()):
        findings = assess_labels(plan)
        changes = write_audit(options, findings, plan.config, plan.folder)
    return findings, plan.folder, changes


def plan_audit(options: AuditOptions, source: Source) -> AuditPlan:
    """Apply the scenario and assign the folds; nothing is written.

    Raises:
        robustkd.errors.UsageError: an option is invalid, or the data cannot be audited with them.
    """
    scenario, device = scenarios.parse(options.scenario), hardware.resolve_device(options.device)
    source, rows = split_data(options, source)
    splits = manifest.build_splits(scenario, source, rows, options.seed)
    view = concat(splits.train, [splits.train, splits.held_out])
    config = out_of_fold.TrainingConfig(
        options.net,
        Recipe(epochs=options.epochs, lr=options.lr, warmup=options.warmup),
        options.batch,
        options.augment,
        device,
        hardware.use_bf16(options.precision, device, options.net),
        options.seed,
    )
    moments = (0.5,) * source.shape[0]
    # A network that cannot be built is reported before anything is written.
    out_of_fold.build_fold_network(view, config, 0, (moments, moments))
    fold = out_of_fold.assign_folds(view, options.folds, options.seed)
    folder = Path(options.out) / audit_name(options, config, view, fold, splits.test)
    held_out = np.arange(len(view)) >= len(splits.train)
    return AuditPlan(options, source, view, held_out, splits.test, fold, config, folder)


def audit_name(options: AuditOptions, config: out_of_fold.TrainingConfig, view: View, fold: Labels, test: View) -> str:
    """Return a recognisable name with a digest of all that decides the probabilities."""
    name = short_dataset_name(options.dataset)
    name += "" if options.scenario == "clean" else f"-{options.scenario}"
    decisive = {
        **asdict(config),
        "drawn": [view.digest, test.digest],
        "folds": digest(fold.astype("<i8")),  # another version of scikit-learn may assign other folds
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
    """Train the networks of the folds that are not finished, and assess every label."""
    options, view, test, folder = plan.options, plan.view, plan.test, plan.folder
    if options.fresh and folder.exists():
        folder.rename(folder.with_name(f"{folder.name}.{time.strftime('%Y%m%d-%H%M%S')}"))
    folder.mkdir(parents=True, exist_ok=True)
    console.print(
        f"{len(view)} training labels of {plan.source.name} in {options.folds} folds; for each, one network ({options.net}, "
        f"{options.epochs} epochs) is trained on the others",
        markup=False,
    )
    alone = out_of_fold.unseen_class_mask(view.labels, plan.fold, len(view.classes))
    monitor = FoldMonitor(options.folds, options.epochs)
    with monitor.progress:
        own, other = out_of_fold.out_of_fold_probabilities(view, plan.fold, test, plan.config, folder, monitor.report)
    return AuditFindings(
        plan.source,
        AuditedRows("train", view, own, confident_learning.find_label_issues(view.labels, own, ~alone)),
        plan.held_out,
        AuditedRows("test", test, other, confident_learning.find_label_issues(test.labels, other)),
        fold_notes(view, plan.fold, alone, options.folds),
        monitor.seconds,
    )


class FoldMonitor:
    """Progress for the user: a bar over all epochs on a terminal, and one line per finished fold.

    Attributes:
        seconds: total time of the finished folds.
    """

    def __init__(self, folds: int, epochs: int) -> None:
        self.folds, self.seconds = folds, 0.0
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
        if event.agreement is None:
            return
        self.seconds += event.seconds
        duration = "reused" if event.reused else f"{event.seconds:.0f} s"
        self.progress.console.print(
            f"[{event.fold + 1}/{self.folds}] {100 * event.agreement:.1f} % of the fold's labels are predicted ({duration})",
            markup=False,
        )
