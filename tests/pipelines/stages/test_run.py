"""The run command: estimates of a dry run, and which runs are left to do."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipelines import cli
from pipelines.stages import run
from robustkd.study.options import StudyOptions
from robustkd.study.plan import Plan, Settings, list_runs
from tests.pipelines.toys import study_arguments


def test_a_dry_run_estimates_the_time_and_writes_nothing(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main([*study_arguments("run", data, methods="baseline,fitnet"), "--dry-run"])
    said = capsys.readouterr().out
    # 72 images, 24 of each class: 18 for training after the test split of 6, 2 of them held out, so 4 batches of 12.
    assert "baseline-seed0: 6 updates" in said
    assert "fitnet-seed0: 9 updates" in said, "a first phase of one epoch"
    assert "3 of 3 runs to do" in said
    assert not Path("studies").exists(), "it leaves nothing behind"


def test_only_unfinished_runs_are_left_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = StudyOptions(scenario="clean", methods="baseline,hinton", seeds=1)
    teacher, baseline, hinton = runs = list_runs(options, False)
    plan = Plan(options, Settings.of(options, "cpu", False, (0.5,), (0.5,)), tmp_path, None, None, 1, 1)
    monkeypatch.setattr(run, "is_finished", lambda plan, run: run.method.text == "baseline" and run.role == "student")
    assert run.unfinished_runs(plan, runs) == ([teacher, hinton], [teacher, hinton])
    given = replace(plan, teacher=tmp_path / "model.pt")
    assert run.unfinished_runs(given, runs) == ([teacher, hinton], [hinton]), "a given teacher is only evaluated"
    fresh = replace(plan, options=replace(options, fresh=True))
    assert run.unfinished_runs(fresh, runs) == ([teacher, baseline, hinton], [teacher, baseline, hinton])
