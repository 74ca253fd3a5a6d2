"""The documented command, as MLflow runs it, on a tiny study; what it left is read back from SQLite."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from tests.pipelines.toys import OPTIONS, stripes

HOME = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def ran(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `mlflow run` has done a study."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(store / "mlflow.db", folder / "mlflow.db")
    data = stripes(folder / "toy.npz")
    options = {**OPTIONS, "methods": "baseline,hinton", "dataset": f"npz:{data}", "out": str(folder / "studies")}
    options |= {"tracker": "mlflow", "jobs": "2", "threads": "2"}
    typed = [word for name, value in options.items() for word in ("-P", f"{name}={value}")]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "run",
        str(HOME),
        "--env-manager",
        "local",
        "--experiment-name",
        "toys",
        *typed,
    ]
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # `python` is the one that tests run with
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
    }
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "hinton - baseline" in done.stdout
    return folder


@pytest.fixture
def client(ran: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.chdir(ran)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{ran / 'mlflow.db'}")
    return MlflowClient()


def runs(client: MlflowClient) -> dict[str, mlflow.entities.Run]:
    experiment = client.get_experiment_by_name("toys")
    assert experiment is not None
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


def test_the_projects_run_is_the_parent_and_each_cell_a_child(client: MlflowClient) -> None:
    found = runs(client)
    children = {name: run for name, run in found.items() if "mlflow.parentRunId" in run.data.tags}
    assert set(children) == {"teacher-seed0", "baseline-seed0", "hinton-seed0"}
    (parent,) = (run for name, run in found.items() if name not in children)
    assert {run.data.tags["mlflow.parentRunId"] for run in children.values()} == {parent.info.run_id}
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert parent.data.params["scenario"] == "noise0.2"
    assert parent.data.params["resolved/rows_train"] == "48"  # 72 less 18 for the test, less 6 held out
    assert {name: run.data.tags["role"] for name, run in children.items()} == {
        "teacher-seed0": "teacher",
        "baseline-seed0": "student",
        "hinton-seed0": "student",
    }
    assert children["hinton-seed0"].data.tags["method"] == "hinton"
    assert children["hinton-seed0"].data.tags["seed"] == "0"
    assert children["hinton-seed0"].data.params["hinton.temperature"] == "4.0"
    assert parent.inputs.dataset_inputs[0].dataset.name.endswith("toy.npz")


def test_figures_per_epoch_and_per_class_are_those_of_the_files(client: MlflowClient, ran: Path) -> None:
    run = runs(client)["hinton-seed0"]
    (folder,) = (ran / "studies").iterdir()
    result = json.loads((folder / "runs" / "hinton-seed0" / "result.json").read_text())
    assert run.data.metrics["accuracy"] == pytest.approx(result["last"]["metrics"]["accuracy"])
    for name, recall in result["last"]["recall"].items():
        assert run.data.metrics[f"recall/{name}"] == pytest.approx(recall)
    epochs = pd.read_csv(folder / "runs" / "hinton-seed0" / "epochs.csv")
    for metric, column in (("test/accuracy", "accuracy"), ("train/kd", "kd")):
        history = client.get_metric_history(run.info.run_id, metric)
        assert [point.step for point in history] == [1, 2]
        assert [point.value for point in history] == pytest.approx(epochs[column].tolist())


def test_manifest_confusion_and_tables_are_artifacts(client: MlflowClient) -> None:
    found = runs(client)
    child = found["hinton-seed0"]
    names = {artifact.path for artifact in client.list_artifacts(child.info.run_id)}
    assert {"confusion.png", "confusion.csv", "per_class.csv", "model.pt"} <= names
    parent = child.data.tags["mlflow.parentRunId"]
    scenario = {artifact.path for artifact in client.list_artifacts(parent, "scenario")}
    assert scenario == {"scenario/manifest-0.csv", "scenario/manifest-0.json"}
    assert "comparison/summary.csv" in {artifact.path for artifact in client.list_artifacts(parent, "comparison")}


def test_the_student_is_a_model_that_predicts(client: MlflowClient, ran: Path) -> None:
    (folder,) = (ran / "studies").iterdir()
    mark = json.loads((folder / "runs" / "hinton-seed0" / "tracked.json").read_text())
    model = mlflow.pyfunc.load_model(mark["model_uri"])
    images = np.load(ran / "toy.npz")["X"][:5, :, :, None]
    answers = model.predict(images)
    assert answers.shape == (5, 3)
    assert answers.sum(axis=1) == pytest.approx(np.ones(5), abs=1e-5)
