"""A command at work on a study: its lock, its tracked run, progress for the user, and the results of every run logged."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from pipelines import tracking
from pipelines.console import console, format_duration
from pipelines.planning import Draft
from pipelines.signals import Terminated, defer_signals
from pipelines.tracking import PARENT_TAG, RunStatus
from pipelines.tracking.headline import Summarise, read_headline
from pipelines.tracking.metrics import epoch_metrics
from robustkd.atomic import remove_temporary_files
from robustkd.errors import ExecutionError, StudyPaused, UsageError
from robustkd.locks import hold_lock
from robustkd.study import scheduler
from robustkd.study.integrity import DAMAGED, find_damaged_files
from robustkd.study.options import NOT_IN_IDENTITY
from robustkd.study.plan import Plan, Run
from robustkd.study.plan import Progress as EpochProgress
from robustkd.study.progress import is_done
from robustkd.study.results import TEACHER, RunResult, read_document
from robustkd.study.run_folder import is_finished, is_trained
from robustkd.study.stopping import StopRequest

STAGES_WITH_METHODS = ("run", "distil", "evaluate")  # after which methods can be compared
SECONDS_PER_LINE = 60.0  # of training, between two lines about a run off a terminal
NOT_TERMS = {"epoch", "phase", "seconds", "accuracy", "held_out_accuracy", "memorised", "recovered"}  # of epochs.csv


class Group(NamedTuple):
    """The sweep or the selection that a study is part of: its tracked run contains that of the study.

    Attributes:
        kind: sweep or selection.
        tracked_run: the id of its own run, or an empty string.
    """

    kind: str
    name: str
    tracked_run: str

    @property
    def tags(self) -> dict[str, str]:
        """The tags of the runs of its studies."""
        return {self.kind: self.name, **({PARENT_TAG: self.tracked_run} if self.tracked_run else {})}


@contextmanager
def study_lock(folder: Path, *, fresh: bool = False) -> Iterator[None]:
    """Hold the study's lock, so that no second command writes the same files.

    Args:
        fresh: first keep the present folder, if there is one, under another name.

    Raises:
        robustkd.errors.UsageError: another command holds it.
    """
    busy = f"{folder}: another command is at work on this study"
    if fresh and folder.exists():
        with hold_lock(folder.resolve(), busy):
            pass
        folder.rename(folder.with_name(f"{folder.name}.{time.strftime('%Y%m%d-%H%M%S')}"))
    with hold_lock(folder.resolve(), busy):
        remove_temporary_files(folder)
        yield


@contextmanager
def open_session(draft: Draft, stage: str, group: Group | None = None) -> Iterator[tuple[Plan, tracking.Tracker]]:
    """Write the study down and open its tracked run. If the tracker cannot be used, nothing is written.

    Args:
        group: that the study is part of.
    """
    options, record = draft.plan.options, draft.record
    tracker = tracking.open_tracker(
        options.tracker, options.experiment, new_parent=group is not None, system_metrics=options.system_metrics
    )
    with study_lock(draft.plan.folder, fresh=options.fresh):
        plan = draft.write()
        content = record.model_dump(mode="json")
        tracker.start_study(
            plan.folder.name if stage == "run" else f"{plan.folder.name} ({stage})",
            params=content["options"],
            resolved=flatten_recipes(content["resolved"]),
            config=content,
            scenario_files=sorted(plan.folder.glob("manifest-*")),
            dataset={"name": record.dataset, "digest": record.fingerprint, "source": options.dataset},
            tags={"stage": stage, "study": plan.folder.name, **(group.tags if group else {})},
            folder=plan.folder,
        )
        summarise = partial(read_headline, plan.folder) if stage in STAGES_WITH_METHODS else lambda: None
        with close_tracked_run(tracker, plan.folder / "comparison", summarise):
            yield plan, tracker


@contextmanager
def close_tracked_run(tracker: tracking.Tracker, tables: Path, summarise: Summarise) -> Iterator[None]:
    """Close the tracked run at the end of the block as finished, failed or, if the user stopped it, killed.

    Args:
        tables: the folder of the comparison, which may not exist.
    """
    status: RunStatus = "FAILED"
    try:
        yield
        status = "FINISHED"
    except (KeyboardInterrupt, StudyPaused):
        status = "KILLED"
        raise
    finally:
        tracker.finish_study(tables if tables.exists() else None, status, summarise)


def execute_and_track(plan: Plan, runs: Sequence[Run], tracker: tracking.Tracker) -> None:
    """Train and evaluate what is not finished, and log all of it.

    Raises:
        robustkd.errors.ExecutionError: some runs failed; the others are finished, and the message names each failure.
        robustkd.errors.StudyPaused: the time of --stop-after is over.
        Terminated: a signal asked to stop. In both cases, the runs that were going are saved.
    """
    if tracker.location:
        console.print(f"tracked as {tracker.location}")
    for run in runs:
        for name in find_damaged_files(plan.run_folder(run)):
            console.print(f"{run.name}: {name} is damaged; it is kept as {name}{DAMAGED} and made again")
    reused = [run for run in runs if is_done(plan, run)]
    for run in reused:
        if is_finished(plan, run):  # which paused runs of a race are not
            log_finished(plan, run, tracker)
    if reused:
        console.print(
            f"{len(reused)} of {len(runs)} runs are already finished and are reused (--fresh trains them again)"
        )
    monitor = ProgressMonitor(plan, len(runs) - len(reused), tracker)
    request, failures = StopRequest(plan.options.stop_after_seconds), []
    with monitor.display(), defer_signals(request):
        for run, error in scheduler.execute_runs(plan, runs, monitor.report, request, monitor.retry):
            log_end(plan, run, error, monitor, tracker)
            if error is not None:
                failures.append(f"{run.name}: {error}")
    if request.signal is not None:
        raise Terminated(request.signal)
    if failures:
        raise ExecutionError(f"{len(failures)} of {len(runs)} runs failed; " + "; ".join(failures))
    if monitor.done < monitor.total:
        raise StudyPaused(
            f"stopped after {plan.options.stop_after}, with {monitor.done} of {monitor.total} runs done;"
            " the same command continues"
        )


def log_end(
    plan: Plan, run: Run, error: Exception | None, monitor: "ProgressMonitor", tracker: tracking.Tracker
) -> None:
    """Log a run that has ended, and show it."""
    if error is not None:
        monitor.start(run)
        tracker.fail_run(run.name, str(error))
        monitor.end(run, f"failed: {error}")
        return
    if plan.share is not None and run.role != TEACHER:
        tracker.pause_run(run.name, {"share": f"{plan.share:g}"})
        monitor.end(run, f"trained for {plan.share:.0%} of its epochs")
        return
    result = read_document(plan.run_folder(run) / "result.json", RunResult)
    if monitor.has_started(run):
        tracker.finish_run(run.name, plan.run_folder(run))
    else:  # it was trained before, and only evaluated now
        log_finished(plan, run, tracker)
    skipped = 0 if result.training is None else result.training.skipped_updates
    note = f", updates skipped: {skipped}" if skipped else ""
    monitor.end(run, f"accuracy {result.last.metrics['accuracy']:.3f}{note}")


def log_finished(plan: Plan, run: Run, tracker: tracking.Tracker) -> None:
    """Log a finished run from its files."""
    tracker.log_finished_run(run.name, run_tags(plan, run), run_params(plan, run), plan.run_folder(run))


def flatten_recipes(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Return resolved settings with an entry for each option of a recipe.

    >>> flatten_recipes({"device": "cpu", "recipes": {"teacher": {"lr": 0.1}}})
    {'device': 'cpu', 'teacher/lr': 0.1}
    """
    rest = {name: value for name, value in resolved.items() if name != "recipes"}
    options = {
        f"{role}/{name}": value for role, values in resolved["recipes"].items() for name, value in values.items()
    }
    return rest | options


def run_tags(plan: Plan, run: Run) -> dict[str, str]:
    """Return the tags that a run is found by."""
    oracle = {"oracle": "true"} if run.method.oracle else {}
    return {"role": run.role, "method": run.method.text, "seed": str(run.seed), "study": plan.folder.name, **oracle}


def run_params(plan: Plan, run: Run) -> dict[str, Any]:
    """Return the parameters that a run is found by: what it is, and the study's options that decide its results."""
    decisive = {name: value for name, value in asdict(plan.options).items() if name not in NOT_IN_IDENTITY}
    decisive |= {**plan.options.recipe_values(run.role), "augment": plan.options.augmentation(run.role)}
    return {**run.key.model_dump(), "dataset": plan.options.dataset, **decisive}


class ProgressMonitor:
    """Shows progress: bars on a terminal, elsewhere a line per finished run, and per minute of a run or epoch if it is longer.

    Args:
        plan: the study.
        total: number of runs to execute.
        tracker: is sent every epoch.
    """

    def __init__(self, plan: Plan, total: int, tracker: tracking.Tracker) -> None:
        self.plan, self.total, self.tracker = plan, total, tracker
        self.done, self.started = 0, time.monotonic()
        self.shares: dict[Run, float] = {}
        self.bars: dict[Run, TaskID] = {}
        self.printed: dict[Run, float] = {}  # seconds of training when a line was printed last
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    @contextmanager
    def display(self) -> Iterator[None]:
        """Show progress for the duration of the context."""
        if self.total and not console.is_terminal:
            console.print(f"{self.total} {'run' if self.total == 1 else 'runs'} to do")
        with self.progress:
            yield

    def has_started(self, run: Run) -> bool:
        """Return whether a run is registered."""
        return run in self.shares

    def start(self, run: Run) -> None:
        """Register a run, if it is new."""
        if not self.has_started(run):
            self.shares[run] = 0.0
            self.tracker.start_run(run.name, run_tags(self.plan, run), run_params(self.plan, run))

    def retry(self, run: Run, reason: str) -> None:
        """Take the death of a run's process."""
        self.progress.console.print(f"{run.name}: {reason}; it is continued from its last save")

    def report(self, event: EpochProgress) -> None:
        """Take a finished epoch."""
        self.start(event.run)
        if event.note:
            self.progress.console.print(f"{event.run.name}: {event.note}", markup=False)
        self.shares[event.run] = min(1.0, event.epoch / event.epochs / (self.plan.share or 1.0))
        self.tracker.log_epoch(event.run.name, event.epoch, epoch_metrics(event.row))
        if not console.is_terminal and not event.is_earlier:
            self._print_epoch(event)
        if event.run not in self.bars:
            self.bars[event.run] = self.progress.add_task(event.run.name, total=event.epochs, note="")
        name, value = self._shown_accuracy(event)
        self.progress.update(self.bars[event.run], completed=event.epoch, note=f"{name} {value:.3f}")

    def _shown_accuracy(self, event: EpochProgress) -> tuple[str, float]:
        """Return the accuracy that is shown: of a race on held-out rows, so that test images are not used for selection."""
        name = "accuracy" if self.plan.share is None else "held_out_accuracy"
        return name.replace("_", " "), float(event.row[name])

    def _print_epoch(self, event: EpochProgress) -> None:
        """Print an epoch, unless a line about the run was printed less than a minute of training ago."""
        seconds = float(event.row.get("seconds", 0.0))
        if seconds - self.printed.get(event.run, 0.0) < SECONDS_PER_LINE or event.epoch == event.epochs:
            return
        self.printed[event.run] = seconds
        terms = {name: value for name, value in event.row.items() if name not in NOT_TERMS and isinstance(value, float)}
        values = ", ".join(f"{name} {value:.3g}" for name, value in [*terms.items(), self._shown_accuracy(event)])
        console.print(f"{event.run.name}: epoch {event.epoch} of {event.epochs}, {values} ({self._describe_time()})")

    def _describe_time(self) -> str:
        """Return the time so far, and an estimate of the time left for all runs."""
        elapsed, share = time.monotonic() - self.started, sum(self.shares.values()) / max(1, self.total)
        left = f", about {format_duration(elapsed / share - elapsed)} left" if self.done < self.total else ""
        return f"{format_duration(elapsed)}{left}"

    def end(self, run: Run, note: str) -> None:
        """Take the end of a run."""
        self.done += 1
        self.shares[run] = 1.0
        if run in self.bars:
            self.progress.remove_task(self.bars.pop(run))
        self.progress.console.print(f"[{self.done}/{self.total}] {run.name}: {note} ({self._describe_time()})")


def refuse_untrained(plan: Plan, runs: Sequence[Run], stage: str) -> None:
    """Refuse to continue without the networks that a stage builds on."""
    for run in runs:
        if not is_trained(plan, run):
            raise UsageError(f"{run.name} is not trained yet: run `robustkd {stage}` with the same options first")
