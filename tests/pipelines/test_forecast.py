"""Forecasts: which runs are left to do, what each method takes, and whether other programs keep the machine busy."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines import cli, forecast
from robustkd.study.options import StudyOptions
from robustkd.study.plan import Plan, Settings, list_runs
from robustkd.study.run import Estimate
from tests.pipelines.toys import study_arguments


def test_only_unfinished_runs_are_left_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = StudyOptions(scenario="clean", methods="baseline,hinton", seeds=1)
    teacher, baseline, hinton = runs = list_runs(options, False)
    plan = Plan(options, Settings.of(options, "cpu", False, (0.5,), (0.5,)), tmp_path, None, None, 1, 1)
    monkeypatch.setattr(
        forecast, "is_finished", lambda plan, run: run.method.text == "baseline" and run.role == "student"
    )
    assert forecast.unfinished_runs(plan, runs) == ([teacher, hinton], [teacher, hinton])
    given = replace(plan, teacher=tmp_path / "model.pt")
    assert forecast.unfinished_runs(given, runs) == ([teacher, hinton], [hinton]), "a given teacher is only evaluated"
    fresh = replace(plan, options=replace(options, fresh=True))
    assert forecast.unfinished_runs(fresh, runs) == ([teacher, baseline, hinton], [teacher, baseline, hinton])


def test_each_method_is_printed_as_soon_as_it_is_timed(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    printed: list[list[str]] = []  # before each timing

    def estimate(view: Any, run: Any, settings: Any, *, teacher: Any) -> Estimate:
        printed.append(capsys.readouterr().out.splitlines())
        return Estimate(1200, 36_000.0 * (1 + (run.role == "teacher")), {})

    monkeypatch.setattr(forecast, "estimate_training", estimate)
    monkeypatch.setattr(forecast, "measure_other_load", lambda: 0.0)
    cli.main([*study_arguments("run", data, seeds="2", precision="fp32"), "--dry-run"])
    recipes = [line for line in printed[0] if "--recipe" in line]
    assert [line.partition(" --epochs")[0] for line in recipes] == [
        "teacher: --recipe scratch",
        "student: --recipe scratch",
    ]
    assert printed[1] == ["teacher: 1,200 updates, about 20.0 h for each of 2 seeds"]
    assert printed[2] == ["baseline: 1,200 updates, about 10.0 h for each of 2 seeds"]
    last = capsys.readouterr().out.splitlines()
    assert last[0] == "hinton: 1,200 updates, about 10.0 h for each of 2 seeds"
    assert last[1].startswith(
        "6 of 6 runs to do, 1 in parallel with 1 threads each, in fp32 on cpu: about 3.3 days in all"
    )


def test_defaults_that_follow_the_data_are_printed() -> None:
    run = list_runs(StudyOptions(scenario="clean", methods="at", seeds=1), False)[1]
    timed = forecast.TimedMethod(run, 1, Estimate(1200, 36_000.0, {"weight": 62.5}))
    assert timed.describe() == "at (weight=62.5): 1,200 updates, about 10.0 h"


@pytest.mark.parametrize(("others", "said"), [(0.9, False), (1.0, True), (30.0, True)])
def test_a_busy_machine_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], others: float, said: bool
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(forecast, "measure_other_load", lambda: others)
    forecast.print_load()
    printed = capsys.readouterr().out
    assert printed.startswith("the machine is busy") == said
    assert not said or f"about {min(others, 4):.1f} of its 4 cores" in printed


def test_the_own_load_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "_STARTED", 0.0)
    monkeypatch.setattr(forecast.time, "monotonic", lambda: 30.0)
    monkeypatch.setattr(forecast.time, "process_time", lambda: 45.0)
    monkeypatch.setattr(os, "getloadavg", lambda: (2.75, 9.0, 9.0))
    assert forecast.measure_other_load() == 2.0
    monkeypatch.setattr(forecast.time, "monotonic", lambda: 90.0)
    assert forecast.measure_other_load() == 2.25
    monkeypatch.delattr(os, "getloadavg")
    assert forecast.measure_other_load() == 0.0
