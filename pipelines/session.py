"""A command at work on a study: its lock, its tracked run, progress for the user, and the results of every run logged."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from pipelines import tracking
from pipelines.console import console
from pipelines.locks import hold_lock
from pipelines.planning import Draft
from robustkd.errors import ExecutionError, UsageError
from robustkd.study import scheduler
from robustkd.study.plan import Plan, Run
from robustkd.study.plan import Progress as EpochProgress
from robustkd.study.results import RunResult, read_document
from robustkd.study.run_folder import is_finished, is_trained


@contextmanager
def study_lock(folder: Path) -> Iterator[None]:
    """Hold the study's lock, so that no second command writes the same files.

    Raises:
        robustkd.errors.UsageError: another command holds it.
    """
    with hold_lock(folder.resolve(), f"{folder}: another command is at work on this study"):
        yield


@contextmanager
def open_session(draft: Draft, stage: str, sweep: str | None = None) -> Iterator[tuple[Plan, tracking.Tracker]]:
    """Write the study down and open its tracked run. If the tracker cannot be used, nothing is written.

    Args:
        sweep: the name of the sweep that the study is part of, with which its run is tagged.
    """
    options, record = draft.plan.options, draft.record
    tracker = tracking.open_tracker(options.tracker, options.experiment, new_parent=sweep is not None)
    with study_lock(draft.plan.folder):
        plan = draft.write()
        content = record.model_dump(mode="json")
        tracker.start_study(
            plan.folder.name if stage == "run" else f"{plan.folder.name} ({stage})",
            params=content["options"],
            resolved=content["resolved"],
            config=content,
            scenario_files=sorted(plan.folder.glob("manifest-*")),
            dataset={"name": record.dataset, "digest": record.fingerprint, "source": options.dataset},
            tags={"stage": stage, "study": plan.folder.name, **({} if sweep is None else {"sweep": sweep})},
        )
        completed = False
        try:
            yield plan, tracker
            completed = True
        finally:
            tables = plan.folder / "comparison"
            tracker.finish_study(tables if tables.exists() else None, failed=not completed)


def execute_and_track(plan: Plan, runs: Sequence[Run], tracker: tracking.Tracker) -> None:
    """Train and evaluate what is not finished, and log all of it.

    Raises:
        robustkd.errors.ExecutionError: some runs failed; the others are finished, and the message names each failure.
    """
    if tracker.location:
        console.print(f"tracked as {tracker.location}", markup=False)
    reused = [run for run in runs if is_finished(plan, run)]
    for run in reused:
        log_finished(plan, run, tracker)
    if reused:
        console.print(
            f"{len(reused)} of {len(runs)} runs are already finished and are reused (--fresh trains them again)"
        )
    monitor = ProgressMonitor(len(runs) - len(reused), tracker)
    failures = []
    with monitor.display():
        for run, error in scheduler.execute_runs(plan, runs, monitor.report):
            monitor.start(run)
            if error is None:
                result = read_document(plan.run_folder(run) / "result.json", RunResult)
                tracker.finish_run(run.name, plan.run_folder(run), result)
                monitor.end(run, f"accuracy {result.last.metrics['accuracy']:.3f}")
            else:
                tracker.fail_run(run.name, str(error))
                monitor.end(run, f"failed: {error}")
                failures.append(f"{run.name}: {error}")
    if failures:
        raise ExecutionError(f"{len(failures)} of {len(runs)} runs failed; " + "; ".join(failures))


def log_finished(plan: Plan, run: Run, tracker: tracking.Tracker) -> None:
    """Log a finished run from its files, dated to when it was trained."""
    folder = plan.run_folder(run)
    result = read_document(folder / "result.json", RunResult)
    mark = folder / "tracked.json"
    before = json.loads(mark.read_text()).get("run_id") if mark.exists() else None
    finished = result.training.finished if result.training else time.time()
    began = finished - (result.training.seconds if result.training else 0.0)
    tracker.start_run(run.name, run_tags(run), {}, reused_from=before or plan.folder.name, began=began)
    if (folder / "epochs.csv").exists():
        for row in pd.read_csv(folder / "epochs.csv").to_dict("records"):
            tracker.log_epoch(
                run.name, int(row["epoch"]), metric_names({str(key): value for key, value in row.items()})
            )
    tracker.finish_run(run.name, folder, result)


def run_tags(run: Run) -> dict[str, str]:
    """Return the tags that a run is found by."""
    return {"role": run.role, "method": run.method.text, "seed": str(run.seed)}


def metric_names(row: dict[str, float]) -> dict[str, float]:
    """Rename the columns of epochs.csv to the names that they are logged under."""
    names = {"accuracy": "test/accuracy", "held_out_accuracy": "held_out/accuracy", "seconds": "seconds"}
    return {names.get(key, f"train/{key}"): float(v) for key, v in row.items() if key not in ("epoch", "phase")}


class ProgressMonitor:
    """Shows progress: bars on a terminal, a line per finished run elsewhere.

    Args:
        total: number of runs to execute.
        tracker: is sent every epoch.
    """

    def __init__(self, total: int, tracker: tracking.Tracker) -> None:
        self.total, self.tracker, self.done, self.started = total, tracker, 0, time.monotonic()
        self.shares: dict[Run, float] = {}
        self.bars: dict[Run, TaskID] = {}
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    @contextmanager
    def display(self) -> Iterator[None]:
        """Show progress for the duration of the context."""
        if self.total and not console.is_terminal:
            console.print(f"{self.total} runs to do")
        with self.progress:
            yield

    def start(self, run: Run) -> None:
        """Register a run, if it is new."""
        if run not in self.shares:
            self.shares[run] = 0.0
            self.tracker.start_run(run.name, run_tags(run), {})

    def report(self, event: EpochProgress) -> None:
        """Take a finished epoch."""
        self.start(event.run)
        self.shares[event.run] = event.epoch / event.epochs
        self.tracker.log_epoch(event.run.name, event.epoch, metric_names(event.row))
        if event.run not in self.bars:
            self.bars[event.run] = self.progress.add_task(event.run.name, total=event.epochs, note="")
        self.progress.update(self.bars[event.run], completed=event.epoch, note=f"accuracy {event.row['accuracy']:.3f}")

    def end(self, run: Run, note: str) -> None:
        """Take the end of a run."""
        self.done += 1
        self.shares[run] = 1.0
        if run in self.bars:
            self.progress.remove_task(self.bars.pop(run))
        elapsed, share = time.monotonic() - self.started, sum(self.shares.values()) / max(1, self.total)
        left = f", about {elapsed / share - elapsed:.0f} s left" if self.done < self.total else ""
        self.progress.console.print(
            f"[{self.done}/{self.total}] {run.name}: {note} ({elapsed:.0f} s{left})", markup=False
        )


def refuse_untrained(plan: Plan, runs: Sequence[Run], stage: str) -> None:
    """Refuse to continue without the networks that a stage builds on."""
    for run in runs:
        if not is_trained(plan, run):
            raise UsageError(f"{run.name} is not trained yet: run `robustkd {stage}` with the same options first")
