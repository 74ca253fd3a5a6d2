"""Interrupts a study at random moments, and compares what it results in with a study that was not interrupted.

    python benchmarks/soak.py [--minutes 10] [--pause 8] [--seed 0] [--methods all] [--folder FOLDER]

A study of every method, on a tenth of the digits, is trained once undisturbed. Then the same command is repeated while faults
are drawn at random: processes are killed, asked to stop or frozen, its MLflow server is killed and frozen, its disk is full,
and its files are damaged between two commands. When it is finished, weights, results, histories and MLflow's metrics must
equal those of the first study, and no process, temporary file or RUNNING run may be left; then it starts again from nothing
until the time is over. Prints the faults, how often each was drawn, the seconds of training since the last save of the runs
that it interrupted, and what happened. Exits with 1 if anything differs.

The study lies on a small tmpfs where that can be mounted, which a file fills; elsewhere, a full disk is a limit on the size of
files. With --folder, its files are kept, and the undisturbed study is trained only once. Needs the extra `test`, and Linux.
"""

import argparse
import json
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from faults import FAULTS, Command, Server, Soak, damage_file, wait_for_end

from robustkd.errors import UsageError
from robustkd.locks import hold_lock
from robustkd.methods import METHODS
from robustkd.study.cost_ratio import needs_cost_ratio
from robustkd.study.options import StudyOptions
from robustkd.study.results import RunResult, TrainingInfo, read_document

OPTIONS = (
    "--dataset digits --scenario fraction0.1 --student resnet8 --teacher resnet8 --epochs 3 --batch 32 --seeds 1"
    " --jobs 2 --threads 1 --save-every 1s --tracker mlflow"
)
UNDISTURBED, INTERRUPTED = "reference", "interrupted"  # folders of studies
# Fields of documents and metrics that depend on the time that a computer takes.
TIMES = {"seconds", "teacher_seconds", "images_per_second", "peak_memory", "finished"}
TIMES |= {f"{device}_{size}_ms" for device in ("cpu", "device") for size in ("image", "batch")}
DISK = 512 << 20  # bytes of the studies' disk
EARLY = 0.2  # share of commands that are interrupted before their first run, too
POLL = 0.3  # seconds between two looks
REPAIRS = 5  # undisturbed commands that may be needed to finish a study, as after runs that failed for lack of disk


# --- What a study results in ----------------------------------------------------------------------------------------


def read_outcome(study: Path) -> dict[str, Any]:
    """Return all that a study's files hold but times, by file."""
    found: dict[str, Any] = {}
    for run in study.glob("runs/*"):
        for path in run.glob("*.pt"):
            found[f"{run.name}/{path.name}"] = path.read_bytes()
        for path in run.glob("*.npz"):
            with np.load(path) as arrays:
                found[f"{run.name}/{path.name}"] = {name: values.tobytes() for name, values in arrays.items()}
        found[f"{run.name}/epochs.csv"] = pd.read_csv(run / "epochs.csv").drop(columns="seconds").to_csv()
        for name, model in {"trained.json": TrainingInfo, "result.json": RunResult}.items():
            document = read_document(run / name, model)
            found[f"{run.name}/{name}"] = json.dumps(without_times(document.model_dump(mode="json")), sort_keys=True)
    return found


def without_times(content: dict[str, Any]) -> dict[str, Any]:
    """Return a document without what depends on the time it took, and the digests of files that hold such values."""
    return {
        name: without_times(value) if isinstance(value, dict) else value
        for name, value in content.items()
        if name not in TIMES | {"files"}
    }


def read_tracked(store: Path, experiment: str) -> list[tuple[str, dict[str, list[tuple[int, float]]]]]:
    """Return the finished runs of an experiment in MLflow's store: their names, and the points of every metric but times."""
    query = """
        select run_uuid, runs.name, key, step, value
        from runs join experiments using (experiment_id) join metrics using (run_uuid)
        where experiments.name = ? and runs.status = 'FINISHED' and runs.lifecycle_stage = 'active'
        order by key, step, timestamp
    """
    runs: dict[str, tuple[str, dict[str, list[tuple[int, float]]]]] = {}
    with closing(sqlite3.connect(store)) as connection:
        for run_id, name, key, step, value in connection.execute(query, (experiment,)):
            metrics = runs.setdefault(run_id, (name, defaultdict(list)))[1]
            if key.rpartition("/")[2] not in TIMES:
                metrics[key].append((step, value))
    return list(runs.values())


def count_running(store: Path, experiment: str) -> int:
    """Return the number of runs of an experiment that MLflow shows as running."""
    query = "select count(*) from runs join experiments using (experiment_id) where experiments.name = ? and status = 'RUNNING'"
    with closing(sqlite3.connect(store)) as connection:
        return int(connection.execute(query, (experiment,)).fetchone()[0])


def compare_files(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Return in which files two studies differ."""
    names = sorted(expected.keys() | found.keys())
    return [f"{name} differs" for name in names if expected.get(name) != found.get(name)]


def latest_points(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return the point that MLflow shows of a study's figure, which is logged again when it has changed; all if two are equal.

    A command that ends with failed runs, as on a full disk, has logged the figures of the others.
    """
    return points[-1:] if len(set(points)) == len(points) else points


def compare_tracked(store: Path, expected: str, found: str, study: str) -> list[str]:
    """Return how the finished runs of an experiment, that of the study among them, differ from those of an undisturbed one."""
    wanted, runs = dict(read_tracked(store, expected)), read_tracked(store, found)
    missing = wanted.keys() - {name for name, _ in runs}
    differing = {
        f"{name}: {key} differs in MLflow"
        for name, metrics in runs
        for key in wanted[name].keys() | metrics.keys()
        if wanted[name].get(key) != (latest_points(metrics.get(key, [])) if name == study else metrics.get(key))
    }
    return [*(f"{name} is not finished in MLflow" for name in sorted(missing)), *sorted(differing)]


def find_left_files(folder: Path) -> list[str]:
    """Return the temporary files that are left in a folder, and states of runs that should be finished."""
    left = (".*.tmp", "unfinished.pt", "robustkd-*-*", "tmp*")  # ours, ours, the sender's, and Python's tempfile's
    return [f"{path} is left" for pattern in left for path in folder.rglob(pattern)]


def every_method() -> str:
    """Return all methods; those that are trained as long as distillation takes, which is measured, with a fixed ratio."""
    specs = StudyOptions(scenario="clean", methods=",".join(METHODS)).method_specs()
    return ",".join(f"{spec.method.text}(ratio=2)" if needs_cost_ratio(spec) else spec.method.text for spec in specs)


# --- The course of a soak -------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What faults have done.

    Attributes:
        lost: seconds of training since the last save, for every time that a fault was drawn, by its name.
        endings: exit codes of the commands that a fault was the last one of, by its name.
        problems: all that should not be.
    """

    lost: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    endings: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    problems: list[str] = field(default_factory=list)
    rounds: int = 0

    def table(self) -> str:
        """Return the faults with their counts, losses and outcomes."""
        rows = []
        for name, lost in sorted(self.lost.items()):
            outcomes = [f"exit {code} ({count})" for code, count in sorted(self.endings[name].items())]
            loss = ""
            if name in FAULTS:
                outcomes += [f"met the next ({len(lost) - self.endings[name].total()})"]
                loss = f"{np.mean(lost):.1f} (most {max(lost):.1f})" if FAULTS[name].interrupts else ""
            rows.append([name, len(lost), loss, ", ".join(outcomes)])
        return pd.DataFrame(rows, columns=["fault", "count", "lost seconds", "the command"]).to_string(index=False)


class Course:
    """Rounds of a study that is interrupted until a deadline, and then finished."""

    def __init__(self, folder: Path, soak: Soak, methods: str, pause: float, deadline: float) -> None:
        self.folder, self.soak, self.methods, self.pause, self.deadline = folder, soak, methods, pause, deadline
        self.tally = Tally()

    @property
    def store(self) -> Path:
        """MLflow's SQLite file."""
        return self.folder / "mlflow.db"

    def is_over(self) -> bool:
        """Return whether no more faults are drawn."""
        return time.monotonic() > self.deadline

    def words(self, out: Path, experiment: str) -> list[str]:
        """Return the words of a study's command."""
        return ["run", *OPTIONS.split(), "--methods", self.methods, "--out", str(out), "--experiment", experiment]

    def run(self) -> None:
        """Train the undisturbed study, then rounds of the interrupted one, and compare each."""
        started = time.monotonic()
        self.soak.command = command = Command(
            self.words(self.folder / UNDISTURBED, UNDISTURBED), self.folder, f"sqlite:///{self.store}"
        )
        if command.end() or command.exit_code():
            sys.exit(f"the undisturbed study failed:\n{command.text()}")
        print(f"undisturbed: {time.monotonic() - started:.0f} s", flush=True)
        self.deadline += time.monotonic() - started
        expected = read_outcome(next((self.folder / UNDISTURBED).iterdir()))
        while not self.tally.rounds or not self.is_over():
            experiment = f"soak-{time.time_ns()}"
            self.finish_round(experiment)
            self.compare_round(expected, experiment)
            self.tally.rounds += 1

    def finish_round(self, experiment: str) -> None:
        """Repeat the command with faults until the study is finished or time is over, and then without faults."""
        words = self.words(self.soak.out, experiment)
        while not self.is_over():
            self.soak.server.wait()
            code = self.interrupt(words)
            if not self.damage_files() and code == 0:
                break
        self.soak.server.wait()
        for _ in range(REPAIRS):
            self.soak.command = Command(words, self.folder, self.soak.server.uri)
            self.tally.problems += self.soak.command.end()
            if self.soak.command.exit_code() == 0:
                self.sync()
                return
        self.tally.problems.append(
            f"the study is not finished after {REPAIRS} commands: {self.soak.command.text()[-500:]}"
        )

    def sync(self) -> None:
        """Send to MLflow what the last command could not send."""
        self.soak.command = Command(["sync", str(self.soak.study)], self.folder, self.soak.server.uri)
        self.tally.problems += self.soak.command.end()
        if self.soak.command.exit_code():
            self.tally.problems.append(f"sync: {self.soak.command.text()}")

    def interrupt(self, words: list[str]) -> int:
        """Draw faults while a command is at work; return its exit code."""
        soak, tally, drawn = self.soak, self.tally, ["nothing"]
        started = time.monotonic()
        soak.command = Command(words, self.folder, soak.server.uri)
        soak.command.wait_for_output()
        if soak.random.random() > EARLY:
            wait_for_run(soak)
        if soak.command.process.poll() is None:
            self.deadline += time.monotonic() - started
        while not self.is_over() and not wait_for_end(soak.command, soak.random.expovariate(1 / self.pause)):
            (name,) = soak.random.choices(list(FAULTS), [fault.weight for fault in FAULTS.values()])
            lost = unsaved_seconds(soak)
            if FAULTS[name].strike(soak):
                drawn.append(name)
                tally.lost[name].append(lost)
                print(f"{time.strftime('%H:%M:%S')} {name}: {lost:.1f} s", flush=True)
        problems, code = soak.command.end(), soak.command.exit_code()
        if code not in {0}.union(*(FAULTS[name].codes for name in drawn[1:])):
            problems.append(f"exit code {code}: {soak.command.text()[-500:]}")
        problems = [f"after {', '.join(drawn)}: {problem}" for problem in problems]
        tally.problems += problems
        for problem in problems:
            print(problem, flush=True)
        if len(drawn) > 1:
            tally.endings[drawn[-1]][code] += 1
        return code

    def damage_files(self) -> bool:
        """Damage up to three files, every other time; return whether any is."""
        drawn = [damage_file(self.soak) for _ in range(self.soak.random.choice([0, 0, 0, 1, 2, 3]))]
        for name in filter(None, drawn):
            self.tally.lost[name].append(0.0)
        return any(drawn)

    def compare_round(self, expected: dict[str, Any], experiment: str) -> None:
        """Compare the study, note what is left, and delete it."""
        (study,) = self.soak.out.glob("*/runs")
        problems = compare_files(expected, read_outcome(study.parent))
        problems += compare_tracked(self.store, UNDISTURBED, experiment, study.name)
        problems += find_left_files(self.soak.out) + find_left_files(self.folder / "tmp")
        if running := count_running(self.store, experiment):
            problems.append(f"{running} runs are shown as running in MLflow")
        self.tally.problems += problems
        shutil.rmtree(study.parent)


def wait_for_run(soak: Soak) -> None:
    """Wait until a command executes a run, or ends: how long it needs for that depends on the machine."""
    while not any(map(is_locked, soak.out.glob("*/runs/*"))) and not wait_for_end(soak.command, POLL):
        pass


def unsaved_seconds(soak: Soak) -> float:
    """Return the time since the last save of the runs that a command is executing, the largest of them."""
    runs = [run for run in soak.out.glob("*/runs/*") if is_locked(run)]
    saved = [max([soak.command.started, *(path.stat().st_mtime for path in run.glob("*"))]) for run in runs]
    return max((time.time() - when for when in saved), default=0.0)


def is_locked(folder: Path) -> bool:
    """Return whether another process holds the lock of a folder."""
    try:
        with hold_lock(folder, "it is held"):
            return False
    except UsageError:
        return True


@contextmanager
def own_disk(folder: Path) -> Iterator[bool]:
    """Mount a small file system on a folder for the duration of the context; return whether that is possible."""
    folder.mkdir(parents=True)
    mounted = not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)], capture_output=True, check=False
    ).returncode
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=False)


@contextmanager
def running_server(folder: Path) -> Iterator[Server]:
    """Run an MLflow server for the duration of the context."""
    server = Server(folder)
    try:
        yield server
    finally:
        server.kill()


def soak_in(folder: Path, arguments: argparse.Namespace) -> tuple[Tally, bool]:
    """Run a soak in a folder; return what it found, and whether the study had a disk of its own."""
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / INTERRUPTED, ignore_errors=True)
    with own_disk(folder / INTERRUPTED) as has_own_disk, running_server(folder) as server:
        soak = Soak(folder / INTERRUPTED, has_own_disk, server, random.Random(arguments.seed))
        deadline = time.monotonic() + 60 * arguments.minutes
        methods = every_method() if arguments.methods == "all" else arguments.methods
        course = Course(folder, soak, methods, arguments.pause, deadline)
        try:
            course.run()
        except KeyboardInterrupt:
            course.tally.problems.append("the soak was stopped before its end")
        finally:
            with suppress(AttributeError):  # there was no command yet
                soak.command.signal(signal.SIGKILL)
    return course.tally, has_own_disk


def main(words: list[str] | None = None) -> int:
    """Run the soak and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="time for faults, in which commands are at work")
    parser.add_argument("--pause", type=float, default=8.0, help="seconds between two faults, on average")
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    parser.add_argument("--methods", default="all")
    parser.add_argument("--folder", type=Path, help="to keep the files in")
    arguments = parser.parse_args(words)
    # `nohup` and `&` let commands inherit that they are ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    place = tempfile.TemporaryDirectory() if arguments.folder is None else nullcontext(str(arguments.folder))
    with place as name:
        tally, has_own_disk = soak_in(Path(name).resolve(), arguments)
    print(tally.table())
    count, disk = sum(map(len, tally.lost.values())), "a tmpfs" if has_own_disk else "limits on the size of files"
    print(f"{count} faults, {tally.rounds} studies compared, {len(tally.problems)} problems; full disks are {disk}")
    print("\n".join(tally.problems))
    return int(bool(tally.problems))


if __name__ == "__main__":
    sys.exit(main())
