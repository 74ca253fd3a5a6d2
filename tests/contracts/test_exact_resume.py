"""Exact resume, for each entry of METHODS: a run that is killed and continued has the same bits as one that is not.

Runs are executed as a study executes them: the state is a file, and every object is made again. Epochs are saved as they end,
and a kill falls between two batches of the next one. By default each method is killed at the beginning of its second phase, or
in the middle of its only one; the other points are marked slow.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines import planning
from robustkd.criteria import CRITERIA
from robustkd.method_spec import MethodSpec
from robustkd.methods import METHODS
from robustkd.methods.baseline import Baseline
from robustkd.study import run_folder
from robustkd.study.options import StudyOptions
from robustkd.study.plan import Plan, Run, teacher_method
from robustkd.study.results import RunResult, read_document
from robustkd.training.engine import PhaseTraining
from robustkd.types import Batch, Objective
from tests.helpers import STUDENT, TEACHER, build_study_method, toy_spec
from tests.pipelines.toys import stripes
from tests.study.toy_study import write_true_labels

POINTS: dict[str, Callable[[int, int], int]] = {  # the epoch of a kill, by the epochs of the first phase and of all
    "first phase": lambda first, total: min(2, first),
    "phase boundary": lambda first, total: first + 1 if first < total else total - 1,
    "last epoch": lambda first, total: total,
}
EPOCHS = 3


class Killed(BaseException):
    """Stands for the end of a process."""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A study whose teachers are trained, and no student."""
    home = tmp_path_factory.mktemp("study")
    data = stripes(home / "toy.npz")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        write_true_labels(data, np.load(data)["y"])
    options = StudyOptions(
        dataset=f"npz:{data}", scenario="noise0.2", methods="baseline", student=STUDENT, teacher=TEACHER, seeds=1,
        epochs=EPOCHS, batch=16, precision="fp32", device="cpu", jobs=1, threads=1, ema=0.9, save_every="0s",
        out=str(home / "studies"),
    )  # fmt: skip
    drafted = planning.draft_study(options).write()
    plan = replace(drafted, settings=replace(drafted.settings, cost_ratio=2.0))
    for labels in ("given", "true"):
        run_folder.execute(plan, Run("teacher", teacher_method(options, labels), 0), lambda progress: None)
    return plan


@pytest.fixture(scope="module")
def uninterrupted(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Run], dict[str, Any]]:
    """Return what a run results in that is not interrupted, which is trained once."""
    known: dict[Run, dict[str, Any]] = {}

    def read(run: Run) -> dict[str, Any]:
        if run not in known:
            known[run] = read_outcome(execute(plan, run, tmp_path_factory.mktemp("whole"), None), run)
        return known[run]

    return read


def execute(plan: Plan, run: Run, home: Path, kill: int | None) -> Plan:
    """Execute a run in a copy of the study; if it is killed in an epoch, by two processes as it were."""
    copy = replace(plan, folder=home / "study")
    shutil.copytree(plan.folder, copy.folder)
    if kill is not None:
        with pytest.MonkeyPatch.context() as patch:
            kill_in_epoch(patch, kill)
            with pytest.raises(Killed):
                run_folder.execute(copy, run, lambda progress: None)
        assert (copy.run_folder(run) / "unfinished.pt").exists() == (kill > 1)
        assert not run_folder.is_trained(copy, run)
    run_folder.execute(copy, run, lambda progress: None)
    return copy


def kill_in_epoch(patch: pytest.MonkeyPatch, epoch: int) -> None:
    """Kill training after the second batch of an epoch, counted from 1 over all phases."""
    iter_updates = PhaseTraining.iter_updates

    def interrupted(self: PhaseTraining, clock: Any, number: int, meter: Any) -> Iterator[None]:
        for done, each in enumerate(iter_updates(self, clock, number, meter), 1):
            yield each
            if (number + 1, done) == (epoch, 2):
                raise Killed

    patch.setattr(PhaseTraining, "iter_updates", interrupted)


def read_outcome(plan: Plan, run: Run) -> dict[str, Any]:
    """Return all that a run results in, except times."""
    folder = plan.run_folder(run)
    result = read_document(folder / "result.json", RunResult)
    assert result.training is not None
    times = {"cost": {"seconds", "teacher_seconds", "images_per_second", "peak_memory"}, "files": True}
    times["training"] = {"seconds", "images_per_second", "peak_memory", "finished", "files"}
    return {
        **{file.name: file.read_bytes() for file in folder.glob("*.pt")},
        **{file.name: file.read_bytes() for file in folder.glob("*.npz")},
        "epochs": pd.read_csv(folder / "epochs.csv").drop(columns="seconds").to_csv(),
        "result": json.dumps(result.model_dump(mode="json", exclude=times)),
    }


def kill_epoch(run: Run, point: str) -> int:
    method = build_study_method(run.method.text)
    epochs = [EPOCHS if phase.epochs is None else max(1, round(phase.epochs * EPOCHS)) for phase in method.phases()]
    return POINTS[point](epochs[0], sum(epochs))


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return [name for name in one | other if one.get(name) != other.get(name)]


@pytest.mark.parametrize(
    "point", [pytest.param(name, marks=() if name == "phase boundary" else pytest.mark.slow) for name in POINTS]
)
@pytest.mark.parametrize("word", METHODS)
def test_a_killed_run_continues_bit_for_bit(
    word: str, point: str, plan: Plan, uninterrupted: Callable[[Run], dict[str, Any]], tmp_path: Path
) -> None:
    run = Run("student", MethodSpec.parse(word), 0)
    killed = execute(plan, run, tmp_path, kill_epoch(run, point))
    whole = uninterrupted(run)
    assert {"model.pt", "early.pt", "ema.pt", "test-last.npz", "epochs", "result"} <= whole.keys()
    assert differing(whole, read_outcome(killed, run)) == []


class CountingBatches(Baseline):
    """Depends on the number of batches since it was constructed, which no state contains."""

    seen = 0

    def objective(self, batch: Batch) -> Objective:
        self.seen += 1
        return Objective({"ce": super().objective(batch).loss / self.seen})


def test_hidden_state_is_detected(plan: Plan, tmp_path: Path) -> None:
    spec = toy_spec("method", CountingBatches)
    run = Run("student", MethodSpec(spec.text, spec, CRITERIA.parse("ce")), 0)
    whole, killed = (read_outcome(execute(plan, run, tmp_path / str(kill), kill), run) for kill in (None, 2))
    assert {"model.pt", "epochs", "result"} <= set(differing(whole, killed))
