"""The costs of a race, and contenders whose training fails."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines import racing, selecting, tracking
from pipelines.cli_options import SelectOptions
from pipelines.racing import judge, measure_costs, rung_runs, seconds_at, time_costs, train_rung, whole_seconds
from robustkd.errors import ExecutionError, StudyPaused
from robustkd.selection.budget import Costs
from robustkd.selection.race import Rung
from robustkd.study import workers
from robustkd.study.plan import Plan, Run
from robustkd.study.progress import RunProgress, read_progress
from robustkd.study.run_folder import execute, load_views
from tests.pipelines.toys import OPTIONS, stripes

CONTENDERS = ["baseline+sce", "hinton"]


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.chdir(tmp_path)
    options: dict[str, Any] = {
        **OPTIONS,
        "seeds": 5,
        "dataset": f"npz:{stripes(tmp_path / 'toy.npz')}",
        "methods": ",".join(CONTENDERS),
        "held_out": 0.25,
    }
    return selecting.draft_race(SelectOptions(**options))[0].write()


def test_a_rung_has_the_teachers_that_its_contenders_need(plan: Plan) -> None:
    names = [run.name for run in rung_runs(plan, CONTENDERS, Rung(0.5, 2, 1))]
    assert names[:2] == ["teacher-seed0", "teacher-seed1"]
    assert len(names) == 6
    assert not any("teacher" in run.name for run in rung_runs(plan, ["baseline+sce"], Rung(0.5, 2, 1)))


def test_a_contender_that_fails_is_dropped_and_the_race_goes_on(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(plan: Plan, run: Run, *rest: Any) -> None:
        if run.method.text == "hinton":
            raise ExecutionError("it failed")
        execute(plan, run, *rest)

    monkeypatch.setattr(workers, "execute", failing)
    rung = Rung(0.5, 1, 2)
    runs = train_rung(plan, CONTENDERS, rung, tracking.open_tracker("files"))
    standings = judge(plan, CONTENDERS, rung)
    assert {each.contender: each.reason for each in standings} == {"baseline+sce": "", "hinton": "failed"}
    assert seconds_at(plan, runs, 0.5) > 0
    with pytest.raises(ExecutionError):
        train_rung(plan, ["hinton"], rung, tracking.open_tracker("files"))


def test_a_race_whose_time_is_over_is_not_judged(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    rung = Rung(0.5, 1, 2)
    train_rung(plan, ["baseline+sce"], rung, tracking.open_tracker("files"))

    def paused(*_: Any) -> None:
        raise StudyPaused("the time is over")

    monkeypatch.setattr(racing, "execute_and_track", paused)
    with pytest.raises(StudyPaused):
        train_rung(plan, CONTENDERS, rung, tracking.open_tracker("files"))


def test_equal_ends_are_told_apart_by_the_epochs_before(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = load_views(plan, 0).held_out.labels.astype(np.int16)
    history = pd.DataFrame({"phase": ["train"] * 4, "seconds": [1.0, 2.0, 3.0, 4.0]})
    begins = {"baseline+sce": 1 - labels, "hinton": labels}

    def read_seeds(plan: Plan, contender: str, rung: Rung) -> dict[int, RunProgress]:
        held_out = np.stack([begins[contender], begins[contender], labels, labels])
        return {0: RunProgress(history, 4, 1, held_out)}

    monkeypatch.setattr(racing, "_read_seeds", read_seeds)
    standings = judge(plan, CONTENDERS, Rung(1.0, 1, 1))
    assert [(each.contender, each.score, each.kept) for each in standings] == [
        ("hinton", 1.0, True),
        ("baseline+sce", 1.0, False),
    ]


def test_costs_are_measured_where_runs_have_begun(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    rung = Rung(0.5, 1, 2)
    for run in rung_runs(plan, ["baseline+sce"], rung):
        execute(replace(plan, share=0.5), run, lambda progress: None)
    expected = Costs({"baseline+sce": 1e-3, "hinton": 7.0}, 3.0, 1.0)
    measured = measure_costs(plan, CONTENDERS, rung, expected)
    progress = read_progress(plan, run)
    assert progress is not None
    assert measured.contenders["baseline+sce"] == pytest.approx(
        2 * progress.history["seconds"].iloc[-1]
    )  # of two epochs, one
    assert measured.contenders["hinton"] == 7


@pytest.mark.parametrize(("ends", "whole"), [([9.0], 36.0), ([9.0, 11.0], 8.0), ([9.0, 11.0, 12.0], 6.0)])
def test_the_first_epoch_does_not_count_where_there_are_others(ends: list[float], whole: float) -> None:
    history = pd.DataFrame({"seconds": ends, "phase": "train"})
    assert whole_seconds(RunProgress(history, 4, 1, np.zeros((len(ends), 3), np.int16))) == whole


def test_every_contender_the_teacher_and_plain_training_are_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options: dict[str, Any] = {
        **OPTIONS,
        "seeds": 5,
        "dataset": f"npz:{stripes(tmp_path / 'toy.npz')}",
        "methods": ",".join(CONTENDERS),
    }
    costs = time_costs(selecting.draft_race(SelectOptions(**options))[0])
    assert list(costs.contenders) == CONTENDERS
    assert min(costs.teacher, costs.baseline, *costs.contenders.values()) > 0
