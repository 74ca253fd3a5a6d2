"""Runs cells under the eyes of a person and a tracker: progress as it goes, every result logged, reused ones again."""

import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from filelock import FileLock, Timeout
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from pipelines import tracking
from pipelines.console import console
from robustkd.errors import ExecutionError, UsageError
from robustkd.hashing import digest
from robustkd.study import plan as study
from robustkd.study import scheduler

if TYPE_CHECKING:
    from pipelines.planning import Draft


@contextmanager
def study_lock(folder: Path) -> Iterator[None]:
    """No second command works on a study meanwhile: two would write the same files."""
    name = digest(text=str(folder.resolve()))
    try:
        with FileLock(Path(tempfile.gettempdir()) / f"robustkd-{name}.lock", timeout=0):
            yield
    except Timeout:
        raise UsageError(f"{folder}: another command is at work on this study") from None


@contextmanager
def tracked(draft: "Draft", stage: str, sweep: str | None = None) -> Iterator[tuple[study.Plan, tracking.Tracker]]:
    """The study written down, and the tracker with its run open; a tracker that cannot be used leaves all as it was.

    Args:
        sweep: the name of the sweep that the study is a part of, for which its run is tagged.
    """
    options, card = draft.plan.options, draft.card
    tracker = tracking.opened(options.tracker, options.experiment, own=sweep is not None)
    with study_lock(draft.plan.folder):
        plan = draft.freeze()
        tracker.begin(
            plan.folder.name if stage == "run" else f"{plan.folder.name} ({stage})",
            params=card["given"],
            resolved=card["resolved"],
            config=card,
            scenario_files=sorted(plan.folder.glob("manifest-*")),
            dataset={"name": card["dataset"], "digest": card["fingerprint"], "source": options.dataset},
            tags={"stage": stage, "study": plan.folder.name, **({} if sweep is None else {"sweep": sweep})},
        )
        ended = False
        try:
            yield plan, tracker
            ended = True
        finally:
            tables = plan.folder / "comparison"
            tracker.end(tables if tables.exists() else None, failed=not ended)


def conduct(plan: study.Plan, cells: Sequence[study.Run], tracker: tracking.Tracker) -> None:
    """Train and evaluate what is not finished, and log all of it.

    Raises:
        robustkd.errors.ExecutionError: some cells failed; the others are finished, and the message names each failure.
    """
    if tracker.where:
        console.print(f"tracked as {tracker.where}", markup=False)
    again = [cell for cell in cells if study.finished(plan, cell)]
    for cell in again:
        replay(plan, cell, tracker)
    if again:
        console.print(
            f"{len(again)} of {len(cells)} runs are there already and are used again (--fresh trains them anew)"
        )
    watch = Watch(len(cells) - len(again), tracker)
    failures = []
    with watch.shown():
        for cell, error in scheduler.run(plan, cells, watch.report):
            watch.begun(cell)
            if error is None:
                result = json.loads((plan.run(cell) / "result.json").read_text(encoding="utf-8"))
                tracker.finish(cell.name, plan.run(cell), result)
                watch.ended(cell, f"accuracy {result['last']['accuracy']:.3f}")
            else:
                tracker.fail(cell.name, str(error))
                watch.ended(cell, f"failed: {error}")
                failures.append(f"{cell.name}: {error}")
    if failures:
        raise ExecutionError(f"{len(failures)} of {len(cells)} runs failed; " + "; ".join(failures))


def replay(plan: study.Plan, cell: study.Run, tracker: tracking.Tracker) -> None:
    """Log a finished cell from its files, as of the time it was made."""
    folder = plan.run(cell)
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    mark = folder / "tracked.json"
    before = json.loads(mark.read_text()).get("run_id") if mark.exists() else None
    ended = result["trained"].get("finished", time.time())
    began = ended - result["trained"].get("seconds", 0.0)
    tracker.start(cell.name, tags(cell), {}, reused_from=before or plan.folder.name, began=began)
    if (folder / "epochs.csv").exists():
        for row in pd.read_csv(folder / "epochs.csv").to_dict("records"):
            tracker.epoch(cell.name, int(row["epoch"]), named({str(key): value for key, value in row.items()}))
    tracker.finish(cell.name, folder, result)


def tags(cell: study.Run) -> dict[str, str]:
    """What a cell's run is found by."""
    return {"role": cell.role, "method": cell.method, "seed": str(cell.seed)}


def named(row: dict[str, Any]) -> dict[str, float]:
    """A line of epochs.csv under the names it is logged by."""
    own = {"accuracy": "test/accuracy", "held_out_accuracy": "held_out/accuracy", "seconds": "seconds"}
    skip = ("epoch", "phase")
    return {own.get(key, f"train/{key}"): float(value) for key, value in row.items() if key not in skip}


class Watch:
    """Tells a person how far things are: bars on a terminal, a line per finished run elsewhere."""

    def __init__(self, total: int, tracker: tracking.Tracker) -> None:
        self.total, self.tracker, self.done, self.start = total, tracker, 0, time.monotonic()
        self.shares: dict[study.Run, float] = {}
        self.bars: dict[study.Run, TaskID] = {}
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
    def shown(self) -> Iterator[None]:
        if self.total and not console.is_terminal:
            console.print(f"{self.total} runs to do")
        with self.progress:
            yield

    def begun(self, cell: study.Run) -> None:
        """A run that nothing was heard of yet."""
        if cell not in self.shares:
            self.shares[cell] = 0.0
            self.tracker.start(cell.name, tags(cell), {})

    def report(self, event: study.Progress) -> None:
        """An epoch has ended somewhere."""
        self.begun(event.cell)
        self.shares[event.cell] = event.epoch / event.epochs
        self.tracker.epoch(event.cell.name, event.epoch, named(event.row))
        if event.cell not in self.bars:
            self.bars[event.cell] = self.progress.add_task(event.cell.name, total=event.epochs, note="")
        self.progress.update(self.bars[event.cell], completed=event.epoch, note=f"accuracy {event.row['accuracy']:.3f}")

    def ended(self, cell: study.Run, note: str) -> None:
        """A run is over."""
        self.done += 1
        self.shares[cell] = 1.0
        if cell in self.bars:
            self.progress.remove_task(self.bars.pop(cell))
        passed, share = time.monotonic() - self.start, sum(self.shares.values()) / max(1, self.total)
        left = f", about {passed / share - passed:.0f} s left" if self.done < self.total else ""
        self.progress.console.print(
            f"[{self.done}/{self.total}] {cell.name}: {note} ({passed:.0f} s{left})", markup=False
        )


def refuse_missing(plan: study.Plan, cells: Sequence[study.Run], stage: str) -> None:
    """The nets that a stage builds on must be there."""
    for cell in cells:
        if not study.trained(plan, cell):
            raise UsageError(f"{cell.name} is not there yet: run `robustkd {stage}` with the same words first")
