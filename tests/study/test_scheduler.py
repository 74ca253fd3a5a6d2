"""Execution of many runs: in order, in parallel, and past failures."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipelines import planning
from robustkd.errors import ExecutionError
from robustkd.study import scheduler, workers
from robustkd.study.memory import OutOfSharedMemory
from robustkd.study.options import StudyOptions
from robustkd.study.plan import Plan, Run, list_runs
from robustkd.study.stopping import GRACE, RunStopped, StopRequest
from robustkd.study.workers import EndedRun, WorkerDied
from tests.helpers import make_settings

OPTIONS = StudyOptions(scenario="clean", methods="hinton,baseline", seeds=2)
RUNS = list_runs(OPTIONS, has_teacher=False)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(OPTIONS, make_settings(), tmp_path, None, None, jobs=1, threads=1)


class FakeExecution:
    """Stands in for training: records the runs it executes, and fails those of some names."""

    def __init__(self, failing: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        self.failing, self.names = failing, list[str]()

    def __call__(self, plan: Plan, run: Run, report: object, should_stop: object) -> None:
        self.names.append(run.name)
        if run.name in self.failing:
            raise ExecutionError("it failed")


def test_students_follow_their_teachers_in_any_order_of_runs(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    execution = FakeExecution()
    monkeypatch.setattr(workers, "execute", execution)
    ended = list(scheduler.execute_runs(plan, reversed(RUNS), lambda progress: None))
    assert {run for run, _ in ended} == set(RUNS)
    assert all(error is None for _, error in ended)
    assert sorted(execution.names) == sorted(run.name for run in RUNS)
    for seed in (0, 1):
        assert execution.names.index(f"teacher-seed{seed}") < execution.names.index(f"hinton-seed{seed}")


def test_a_failed_teacher_prevents_its_students_only(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    execution = FakeExecution({"teacher-seed0"})
    monkeypatch.setattr(workers, "execute", execution)
    errors = {run.name: error for run, error in scheduler.execute_runs(plan, RUNS, lambda progress: None)}
    assert {name for name, error in errors.items() if error is not None} == {"teacher-seed0", "hinton-seed0"}
    assert str(errors["teacher-seed0"]) == "it failed"
    assert str(errors["hinton-seed0"]) == "it was not run, because its teacher failed"
    assert set(execution.names) == {run.name for run in RUNS} - {"hinton-seed0"}


def test_finished_runs_are_not_executed(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    execution = FakeExecution()
    monkeypatch.setattr(workers, "execute", execution)
    monkeypatch.setattr(scheduler, "is_done", lambda plan, run: run.role == "teacher" or run.seed == 0)
    ended = [run.name for run, _ in scheduler.execute_runs(plan, RUNS, lambda progress: None)]
    assert sorted(ended) == sorted(execution.names) == ["baseline-seed1", "hinton-seed1"]


class FakePool:
    """Runs that end one at a time, the one that was started last first; those of some names die first, a number of times."""

    def __init__(self, jobs: int, deaths: dict[str, int] | None = None, capacity: int = 9) -> None:
        self.jobs, self.deaths, self.capacity = jobs, dict(deaths or {}), capacity
        self.going, self.most, self.ended = list[Run](), 0, list[str]()
        self.stops = 0

    def has_room(self) -> bool:
        return len(self.going) < self.jobs

    def start(self, run: Run) -> None:
        if run.method.text == "hinton":
            assert f"teacher-seed{run.seed}" in self.ended
        self.going.append(run)
        self.most = max(self.most, len(self.going))

    def running(self) -> list[Run]:
        return self.going

    def wait(self, timeout: float) -> list[EndedRun]:
        if not self.going:
            return []
        crowded = len(self.going) > self.capacity
        run = self.going.pop()
        if crowded:
            return [EndedRun(run, OutOfSharedMemory("out of memory"))]
        if self.stops:
            return [EndedRun(run, RunStopped())]
        if self.deaths.get(run.name, 0):
            self.deaths[run.name] -= 1
            return [EndedRun(run, WorkerDied("it died"))]
        self.ended.append(run.name)
        return [EndedRun(run, None)]

    def stop(self) -> None:
        self.stops += 1

    def close(self) -> None: ...


def schedule(pool: FakePool, plan: Plan, request: StopRequest | None = None) -> tuple[dict[str, str], list[str]]:
    """Return the errors of the runs that ended, and which were continued."""
    retried: list[str] = []
    ended = scheduler._schedule(
        pool, list(reversed(RUNS)), plan, request or StopRequest(), lambda run, reason: retried.append(run.name)
    )
    return {run.name: str(error or "") for run, error in ended}, retried


def test_at_most_as_many_runs_as_jobs_are_going_and_none_before_its_teacher(plan: Plan) -> None:
    pool = FakePool(2)
    errors, _ = schedule(pool, plan)
    assert pool.most == 2
    assert errors == dict.fromkeys((run.name for run in RUNS), "")


def test_a_run_whose_process_dies_is_continued_once_and_the_others_go_on(plan: Plan) -> None:
    pool = FakePool(2, {"teacher-seed0": 1, "baseline-seed1": 2})
    errors, retried = schedule(pool, plan)
    assert sorted(retried) == ["baseline-seed1", "teacher-seed0"]
    assert {name: error for name, error in errors.items() if error} == {"baseline-seed1": "it died"}
    assert len(errors) == len(RUNS)


def test_runs_that_lack_memory_are_continued_with_fewer_until_all_have_ended(plan: Plan) -> None:
    pool, reasons = FakePool(4, capacity=2), list[str]()
    ended = scheduler._schedule(
        pool, list(RUNS), plan, StopRequest(), lambda run, reason: reasons.append(f"{run.name}: {reason}")
    )
    assert {run.name: error for run, error in ended} == dict.fromkeys(run.name for run in RUNS)
    assert pool.jobs == 2
    assert [reason.partition(": ")[2] for reason in reasons] == [
        "out of memory; 3 from now on",
        "out of memory; 2 from now on",
    ]


def test_a_run_that_lacks_memory_whatever_the_number_of_jobs_fails(plan: Plan) -> None:
    pool = FakePool(3, capacity=0)
    errors, retried = schedule(pool, plan)
    assert pool.jobs == 1
    assert len(errors) == len(RUNS)
    assert errors["baseline-seed0"] == "out of memory"
    assert retried.count("teacher-seed0") <= 2


def test_after_a_request_no_run_is_started_and_those_going_are_not_reported(plan: Plan) -> None:
    pool, request = FakePool(2), StopRequest()
    generator = scheduler._schedule(pool, list(RUNS), plan, request, lambda run, reason: None)
    next(generator)
    request.receive(15)
    assert list(generator) == []
    assert (pool.stops, len(pool.ended), pool.going) == (1, 1, [])


def test_runs_that_do_not_stop_in_time_are_abandoned(plan: Plan) -> None:
    pool, request = FakePool(1), StopRequest()
    generator = scheduler._schedule(pool, list(RUNS), plan, request, lambda run, reason: None)
    next(generator)
    request.receive(15)
    request._received -= GRACE + 1
    assert list(generator) == []
    assert pool.stops == 0


def test_a_time_limit_stops_at_the_end_of_an_epoch(plan: Plan) -> None:
    assert not StopRequest(after=100).is_due()
    request = StopRequest(after=0)
    assert request.is_due()
    assert not request.is_overdue(), "runs may finish their epoch, however long it takes"
    assert schedule(FakePool(1), plan, request) == ({}, [])


def test_an_interruption_is_not_a_failed_run(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(plan: Plan, run: Run, report: object, should_stop: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(workers, "execute", interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(scheduler.execute_runs(plan, RUNS, lambda progress: None))


def test_runs_side_by_side_report_every_epoch_and_learn_the_same_as_one_at_a_time(data: Path) -> None:
    options = StudyOptions(
        scenario="clean", dataset=f"npz:{data}", methods="baseline,dml", student="resnet8", seeds=2, epochs=5, batch=16,
        jobs=2, threads=2,
    )  # fmt: skip
    plan = planning.draft_study(options).write()
    reported: list[tuple[str, int]] = []
    runs = list_runs(options, False)
    for run, error in scheduler.execute_runs(plan, runs, lambda event: reported.append((event.run.name, event.epoch))):
        assert error is None
        assert [epoch for name, epoch in reported if name == run.name] == [1, 2, 3, 4, 5]
    assert len(reported) == 4 * 5
    alone = planning.draft_study(replace(options, jobs=1, threads=1, name="alone")).write()
    assert all(error is None for _, error in scheduler.execute_runs(alone, runs, lambda event: None))
    for name in ("model.pt", "early.pt"):
        one, two = ([(each.run_folder(run) / name).read_bytes() for run in runs] for each in (alone, plan))
        assert one == two
