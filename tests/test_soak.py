"""The soak: what it compares, what it damages, and a short one."""

import importlib
import json
import random
import shutil
import sqlite3
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from pipelines import cli
from robustkd.methods import METHODS
from robustkd.study.options import StudyOptions
from robustkd.training import checkpoint
from tests.pipelines.toys import find_study, stripes, study_arguments

HOME = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HOME / "benchmarks"))


@pytest.fixture
def soak() -> ModuleType:
    return importlib.import_module("soak")


def test_two_studies_differ_in_weights_and_histories_but_not_in_times(
    soak: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cli.main(study_arguments("run", stripes(tmp_path / "toy.npz"), methods="baseline", epochs="1"))
    study, copy = find_study(), tmp_path / "copy"
    shutil.copytree(study, copy)
    expected = soak.read_outcome(study)
    run = copy / "runs" / "baseline-seed0"
    assert {
        f"baseline-seed0/{name}" for name in ("model.pt", "early.pt", "test-last.npz", "epochs.csv")
    } < expected.keys()
    history = (run / "epochs.csv").read_text().splitlines()
    column = history[0].split(",").index("seconds")
    cells = history[1].split(",")
    cells[column] = "99.5"
    (run / "epochs.csv").write_text("\n".join([history[0], ",".join(cells)]) + "\n")
    assert soak.compare_files(expected, soak.read_outcome(copy)) == [], "seconds are not compared"
    content = checkpoint.load_checkpoint(run / "model.pt")
    content["weights"]["head.bias"][0] += 1e-6
    checkpoint.save_checkpoint(run / "model.pt", content)
    cells[history[0].split(",").index("accuracy")] = "0.123"
    (run / "epochs.csv").write_text("\n".join([history[0], ",".join(cells)]) + "\n")
    (run / "early.pt").unlink()
    names = ["early.pt", "epochs.csv", "model.pt"]
    assert soak.compare_files(expected, soak.read_outcome(copy)) == [f"baseline-seed0/{name} differs" for name in names]


def test_every_method_is_trained_and_none_for_a_measured_time(soak: ModuleType) -> None:
    specs = StudyOptions(scenario="clean", methods=soak.every_method()).method_specs()
    assert [spec.method.name for spec in specs] == list(METHODS)
    assert {spec.text for spec in specs if "(" in spec.text} == {"longer(ratio=2)", "ensemble(ratio=2)"}
    assert not any(map(soak.needs_cost_ratio, specs))


def write_store(path: Path, runs: list[tuple[str, str, str, list[tuple[str, int, float]]]]) -> None:
    """Write the tables of an MLflow store with runs: experiment, name, status, and points of metrics."""
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "create table experiments (experiment_id, name);"
            "create table runs (run_uuid, name, status, lifecycle_stage, experiment_id);"
            "create table metrics (run_uuid, key, step, value, timestamp);"
        )
        connection.executemany("insert into experiments values (?, ?)", {(run[0], run[0]) for run in runs})
        for number, (experiment, name, status, points) in enumerate(runs):
            connection.execute("insert into runs values (?, ?, ?, 'active', ?)", (number, name, status, experiment))
            logged = [(*point, when) for when, point in enumerate(points)]
            connection.executemany(f"insert into metrics values ({number}, ?, ?, ?, ?)", logged)
    connection.close()


@pytest.mark.parametrize(
    ("points", "problems"),
    [
        ([("train/ce", 1, 0.5), ("train/ce", 2, 0.25), ("seconds", 1, 9.0)], []),
        ([("train/ce", 1, 0.5), ("train/ce", 2, 0.2500001)], ["a-seed0: train/ce differs in MLflow"]),
        ([("train/ce", 2, 0.25)], ["a-seed0: train/ce differs in MLflow"]),
        ([("train/ce", 1, 0.5), ("train/ce", 1, 0.5), ("train/ce", 2, 0.25)], ["a-seed0: train/ce differs in MLflow"]),
        (None, ["a-seed0 is not finished in MLflow"]),
    ],
)
def test_metrics_in_mlflow_are_compared_point_by_point(
    soak: ModuleType, tmp_path: Path, points: list[tuple[str, int, float]] | None, problems: list[str]
) -> None:
    whole = [("train/ce", 1, 0.5), ("train/ce", 2, 0.25), ("seconds", 1, 3.0)]
    runs = [("calm", "a-seed0", "FINISHED", whole), ("soak", "a-seed0", "KILLED", whole[:1])]
    runs += [] if points is None else [("soak", "a-seed0", "FINISHED", points)]
    write_store(tmp_path / "mlflow.db", [*runs, ("soak", "b", "RUNNING", [])])
    assert soak.compare_tracked(tmp_path / "mlflow.db", "calm", "soak", "study") == problems
    assert [soak.count_running(tmp_path / "mlflow.db", name) for name in ("soak", "calm")] == [1, 0]


@pytest.mark.parametrize(
    ("values", "problems"), [((0.5,), []), ((0.25, 0.5), []), ((0.5, 0.25), ["s"]), ((0.5, 0.5), ["s"]), ((), ["s"])]
)
def test_a_figure_of_a_study_may_be_logged_again_if_it_has_changed(
    soak: ModuleType, tmp_path: Path, values: tuple[float, ...], problems: list[str]
) -> None:
    seeds = ("seeds", 0, 3.0)
    logged = [seeds, *(("best_gain", 0, value) for value in values)]
    runs = [("calm", "s", "FINISHED", [seeds, ("best_gain", 0, 0.5)]), ("soak", "s", "FINISHED", logged)]
    write_store(tmp_path / "mlflow.db", runs)
    differing = soak.compare_tracked(tmp_path / "mlflow.db", "calm", "soak", "s")
    assert differing == [f"{name}: best_gain differs in MLflow" for name in problems]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    run = tmp_path / "out" / "study" / "runs" / "a-seed0"
    run.mkdir(parents=True)
    for name in ("model.pt", "tracked.json", "error.txt", ".lock"):
        (run / name).write_bytes(bytes(range(100)))
    (tmp_path / "out" / "study" / "study.json").write_text(json.dumps({"format": 2}))
    return tmp_path / "out"


def test_files_are_damaged_in_every_way_and_as_the_seed_decides(soak: ModuleType, files: Path) -> None:
    faults = importlib.import_module("faults")
    seen = []
    for seed in [*range(30), *range(30)]:
        before = {path: path.read_bytes() for path in files.rglob("*") if path.is_file()}
        how = faults.damage_file(SimpleNamespace(study=files / "study", random=random.Random(seed)))
        changed = [path for path, content in before.items() if not path.exists() or path.read_bytes() != content]
        assert [path.name in {"model.pt", "study.json"} for path in changed] == [True]
        seen.append((how, changed[0].name))
        changed[0].write_bytes(before[changed[0]])
    assert seen[:30] == seen[30:]
    assert {how for how, _ in seen} == {*faults.DAMAGES, faults.DELETED}


def test_left_files_are_found(soak: ModuleType, files: Path) -> None:
    assert soak.find_left_files(files) == []
    (files / "study" / ".study.json.0123.tmp").write_text("")
    assert soak.find_left_files(files) == [f"{files / 'study' / '.study.json.0123.tmp'} is left"]
    (files / "robustkd-0123-abc" / "model").mkdir(parents=True)
    (files / "robustkd-0123.lock").write_text("")
    assert soak.find_left_files(files)[1:] == [f"{files / 'robustkd-0123-abc'} is left"]


@pytest.mark.slow
def test_a_minute_of_faults_changes_nothing(
    soak: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--minutes", "1", "--pause", "4", "--methods", "baseline,hinton,dml,fitnet"]
    words += ["--folder", str(tmp_path / "soak")]
    assert soak.main(words) == 0, capsys.readouterr().out
    printed = capsys.readouterr().out
    assert "SIG" in printed
    assert ", 0 problems" in printed
    assert " 0 faults" not in printed
