"""Worker processes: messages, deaths, and that they hear of nothing but their parent."""

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from robustkd.errors import ExecutionError
from robustkd.study import workers
from robustkd.study.plan import Plan, Progress, Run
from robustkd.study.scheduler import execute_runs
from robustkd.study.stopping import RunStopped, StopRequest
from robustkd.study.workers import EndedRun, InlinePool, WorkerDied, WorkerPool
from tests.study.toy_study import HINTON, PLAIN, write_study

KILLER = """
import os
from robustkd.methods.baseline import Baseline

class Killer(Baseline):
    version = 1
    def objective(self, batch):
        os._exit(7)

class Quitter(Baseline):
    version = 1
    def objective(self, batch):
        raise SystemExit(3)

METHODS = {"killer": Killer, "quitter": Quitter}
"""

# A memory in which one process has room, the first that takes it.
GREEDY = """
import os
from pathlib import Path

import torch
from robustkd.methods.baseline import Baseline

class Greedy(Baseline):
    version = 1
    def objective(self, batch):
        memory = Path(os.environ["TEST_MEMORY"])
        try:
            owner = int((memory / "owner").read_text())
            os.kill(owner, 0)
        except (OSError, ValueError):
            owner = os.getpid()
            (memory / "owner").write_text(str(owner))
        if owner != os.getpid():
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().objective(batch)

METHODS = {"greedy": Greedy}
"""


def wait_for_end(pool: WorkerPool, limit: int = 600) -> tuple[EndedRun, list[Progress]]:
    """Return the first run that ends, and the epochs reported before."""
    reported: list[Progress] = []
    pool.report = reported.append
    for _ in range(limit):
        if ended := pool.wait(0.2):
            return ended[0], reported
    raise AssertionError("no run has ended")


@pytest.fixture
def plan(data: Path, tmp_path: Path) -> Plan:
    (tmp_path / "mine.py").write_text(KILLER)
    return write_study(
        data, seeds=1, methods="baseline,killer,quitter", plug=str(tmp_path / "mine.py"), out=str(tmp_path / "studies")
    )


@pytest.fixture
def pool(plan: Plan) -> Any:
    pool = WorkerPool(plan, 1, lambda progress: None)
    yield pool
    pool.close()
    assert all(worker.process.exitcode is not None for worker in pool.workers), "no process is left"


def student(method: str) -> Run:
    return Run("student", PLAIN.method.parse(method), 0)


def test_a_worker_reports_every_epoch_then_the_end_and_takes_the_next_run(pool: WorkerPool) -> None:
    pool.start(student("baseline"))
    assert not pool.has_room()
    assert [run.name for run in pool.running()] == ["baseline-seed0"]
    ended, reported = wait_for_end(pool)
    assert ended == EndedRun(student("baseline"), None)
    assert [progress.epoch for progress in reported] == [1, 2, 3, 4]
    assert pool.has_room()
    pool.start(student("quitter"))
    ended, _ = wait_for_end(pool)
    assert isinstance(ended.error, ExecutionError)
    assert "SystemExit: 3" in str(ended.error)
    assert len(pool.workers) == 1, "the process goes on after a method that calls sys.exit"
    pool.start(student("killer"))
    ended, _ = wait_for_end(pool)
    assert isinstance(ended.error, WorkerDied)
    assert str(ended.error) == "its process ended with exit code 7"
    assert pool.workers == []


def test_a_worker_ignores_signals_to_stop_and_stops_when_it_is_told(pool: WorkerPool, plan: Plan) -> None:
    pool.start(student("baseline"))
    worker = pool.workers[0]
    while not isinstance(worker.receive(), Progress):
        pass
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(worker.process.pid or 0, number)
    pool.stop()
    pool.stop()
    ended, reported = wait_for_end(pool)
    assert isinstance(ended.error, RunStopped) or len(reported) == 3  # it may have been quicker
    if isinstance(ended.error, RunStopped):
        assert (plan.run_folder(ended.run) / "unfinished.pt").exists()
    pool.start(student("baseline"))
    again, reported = wait_for_end(pool)
    assert again.error is None
    if isinstance(ended.error, RunStopped):
        assert [progress.epoch for progress in reported] == [1, 2, 3, 4]
        assert reported[0].is_earlier
        assert not reported[-1].is_earlier


def test_a_run_inline_stops_when_the_request_is_due(data: Path) -> None:
    plan, request = write_study(data, seeds=1), StopRequest()
    epochs: list[int] = []

    def report(progress: Progress) -> None:
        epochs.append(progress.epoch)
        request.receive(15)

    pool = InlinePool(plan, report, request)
    pool.start(PLAIN)
    (ended,) = pool.wait(0)
    assert isinstance(ended.error, RunStopped)
    assert epochs == [1, 2], "the request is seen after the next epoch"


def test_runs_that_lack_memory_side_by_side_are_trained_one_after_another(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(GREEDY)
    monkeypatch.setenv("TEST_MEMORY", str(tmp_path))
    plan = write_study(data, seeds=3, jobs=2, threads=2, methods="greedy", plug=str(tmp_path / "mine.py"))
    reasons: list[str] = []
    runs = [Run("student", PLAIN.method.parse("greedy"), seed) for seed in range(3)]
    ended = execute_runs(plan, runs, lambda progress: None, on_retry=lambda run, reason: reasons.append(reason))
    assert dict(ended) == dict.fromkeys(runs)
    assert set(reasons) == {"out of memory on cpu with 2 runs in parallel; 1 from now on"}


def test_a_process_that_cannot_be_started_is_a_sentence(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = WorkerPool(write_study(data, seeds=1), 2, lambda progress: None)

    def refuse(process: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(pool.context.Process, "start", refuse)
    with pytest.raises(ExecutionError, match=r"a process cannot be started .*Cannot allocate memory.*fewer --jobs"):
        pool.start(HINTON)


@pytest.mark.parametrize("last", [Progress, EndedRun], ids=["during a run", "before its end was read"])
def test_a_worker_ends_silently_when_its_parent_closes_the_connection(
    last: type, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = multiprocessing.Pipe()

    class Closing:
        """The worker's end of a connection, whose other end is closed right after a message."""

        recv, poll = theirs.recv, theirs.poll

        def send(self, message: object) -> None:
            theirs.send(message)
            if isinstance(message, last):
                ours.close()

    monkeypatch.setattr(workers, "obey_parent", lambda: None)
    monkeypatch.setattr(workers, "prepare_process", lambda plan: None)
    monkeypatch.setattr(workers, "execute", lambda plan, run, report, is_due: report(Progress(run, 1, 2, {})))
    ours.send((PLAIN, 1))
    workers._work(plan, Closing())  # type: ignore[arg-type]
    assert ours.closed
