"""Execution of many runs: in order, in parallel, and past failures."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipelines import planning
from robustkd.errors import ExecutionError
from robustkd.study import scheduler
from robustkd.study.options import StudyOptions
from robustkd.study.plan import Plan, Run, list_runs
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

    def __call__(self, plan: Plan, run: Run, report: object) -> None:
        self.names.append(run.name)
        if run.name in self.failing:
            raise ExecutionError("it failed")


def test_students_follow_their_teachers_in_any_order_of_runs(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    execution = FakeExecution()
    monkeypatch.setattr(scheduler, "execute", execution)
    ended = list(scheduler.execute_runs(plan, reversed(RUNS), lambda progress: None))
    assert {run for run, _ in ended} == set(RUNS)
    assert all(error is None for _, error in ended)
    assert sorted(execution.names) == sorted(run.name for run in RUNS)
    for seed in (0, 1):
        assert execution.names.index(f"teacher-seed{seed}") < execution.names.index(f"hinton-seed{seed}")


def test_a_failed_teacher_prevents_its_students_only(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    execution = FakeExecution({"teacher-seed0"})
    monkeypatch.setattr(scheduler, "execute", execution)
    errors = {run.name: error for run, error in scheduler.execute_runs(plan, RUNS, lambda progress: None)}
    assert {name for name, error in errors.items() if error is not None} == {"teacher-seed0", "hinton-seed0"}
    assert str(errors["teacher-seed0"]) == "it failed"
    assert str(errors["hinton-seed0"]) == "it was not run, because its teacher failed"
    assert set(execution.names) == {run.name for run in RUNS} - {"hinton-seed0"}


def test_finished_runs_are_not_executed(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    execution = FakeExecution()
    monkeypatch.setattr(scheduler, "execute", execution)
    monkeypatch.setattr(scheduler, "is_finished", lambda plan, run: run.role == "teacher" or run.seed == 0)
    ended = [run.name for run, _ in scheduler.execute_runs(plan, RUNS, lambda progress: None)]
    assert sorted(ended) == sorted(execution.names) == ["baseline-seed1", "hinton-seed1"]


def test_at_most_as_many_runs_as_jobs_are_going_and_none_before_its_teacher(plan: Plan) -> None:
    lock, running, most, ended = threading.Lock(), 0, 0, list[str]()
    early = list[str]()

    def execute(run: Run) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if run.method.text == "hinton" and f"teacher-seed{run.seed}" not in ended:
                early.append(run.name)
        threading.Event().wait(0.02)
        with lock:
            running -= 1
            ended.append(run.name)

    with ThreadPoolExecutor(8) as pool:
        for _, error in scheduler._schedule(pool, 2, lambda run: (execute, run), list(reversed(RUNS)), plan):
            assert error is None
    assert (most, early) == (2, [])
    assert sorted(ended) == sorted(run.name for run in RUNS)


def test_an_interruption_is_not_a_failed_run(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(plan: Plan, run: Run, report: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(scheduler, "execute", interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(scheduler.execute_runs(plan, RUNS, lambda progress: None))


def test_every_epoch_is_reported_before_its_run_ends(data: Path) -> None:
    options = StudyOptions(
        scenario="clean", dataset=f"npz:{data}", methods="baseline,dml", student="resnet8", seeds=2, epochs=5, batch=16,
        jobs=2, threads=2,
    )  # fmt: skip
    plan = planning.draft_study(options).write()
    reported: list[tuple[str, int]] = []
    for run, error in scheduler.execute_runs(
        plan, list_runs(options, False), lambda event: reported.append((event.run.name, event.epoch))
    ):
        assert error is None
        assert [epoch for name, epoch in reported if name == run.name] == [1, 2, 3, 4, 5]
    assert len(reported) == 4 * 5


def test_workers_do_not_see_the_users_script() -> None:
    script = sys.modules["__main__"]
    with scheduler.hidden_main_module():
        assert not hasattr(sys.modules["__main__"], "__file__")
    assert sys.modules["__main__"] is script
