"""What commands leave in MLflow, searched as a person does; and what they add when they are repeated."""

import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from pipelines import cli
from pipelines.tracking.run_logger import RunLogger
from tests.pipelines.conftest import use_store
from tests.pipelines.toys import stripes, study_arguments


class Store:
    """The runs of an experiment, found as in the UI, and the size of the whole store."""

    def __init__(self, folder: Path, experiment: str) -> None:
        self.folder, self.experiment, self.client = folder, experiment, MlflowClient()

    def find(self, query: str) -> list[Run]:
        where = self.client.get_experiment_by_name(self.experiment).experiment_id
        return list(self.client.search_runs([where], query, order_by=["start_time ASC"]))

    def size(self) -> tuple[int, int]:
        """The numbers of metrics in the database and of files."""
        connection = sqlite3.connect(self.folder / "mlflow.db")
        (count,) = connection.execute("select count(*) from metrics").fetchone()
        connection.close()
        return count, sum(path.is_file() for path in (self.folder / "mlruns").rglob("*"))


@pytest.fixture(autouse=True)
def in_store(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_store(monkeypatch, store)
    monkeypatch.setattr(RunLogger, "_log_model", lambda *_: None)  # no test needs the models


@pytest.fixture
def made(store: Path, tmp_path: Path) -> SimpleNamespace:
    """An experiment, and the options of commands that log to it."""
    words = {"tracker": "mlflow", "experiment": tmp_path.name, "out": str(tmp_path / "studies")}
    return SimpleNamespace(store=Store(store, tmp_path.name), words=words, data=stripes(tmp_path / "toy.npz"))


def run(made: SimpleNamespace, command: str = "run", **changes: str) -> None:
    cli.main(study_arguments(command, made.data, **{**made.words, **changes}))


def test_runs_are_found_by_their_options_and_a_repeated_command_adds_nothing(made: SimpleNamespace) -> None:
    run(made)
    (found,) = made.store.find("params.scenario = 'noise0.2' and tags.method = 'hinton'")
    assert found.info.run_name == "hinton-seed0"
    expected = {
        "student": "resnet8",
        "epochs": "2",
        "batch": "16",
        "seed": "0",
        "criterion": "ce",
        "hinton.alpha": "0.9",
    }
    assert found.data.params.items() >= expected.items()
    (parent,) = made.store.find("tags.stage = 'run'")
    assert found.inputs.dataset_inputs[0].dataset.digest == parent.data.params["resolved/fingerprint"]
    assert (
        made.store.find(f"metrics.best_gain = {parent.data.metrics['best_gain']!r}")[0].info.run_id
        == parent.info.run_id
    )
    gain = found.data.metrics["balanced_accuracy"] - parent.data.metrics["balanced_accuracy/baseline"]
    assert parent.data.metrics["gain/hinton"] == pytest.approx(gain)
    runs, size = {each.info.run_id: each.to_dictionary() for each in made.store.find("")}, made.store.size()
    run(made)
    assert {each.info.run_id: each.to_dictionary() for each in made.store.find("")} == runs
    assert made.store.size() == size


def test_more_seeds_log_only_the_new_runs(made: SimpleNamespace) -> None:
    run(made)
    first = {each.info.run_id for each in made.store.find("tags.role LIKE '%'")}
    run(made, seeds="2")
    assert {
        each.data.params["seed"] for each in made.store.find("tags.role LIKE '%'") if each.info.run_id not in first
    } == {"1"}
    before, now = made.store.find("tags.stage = 'run'")
    assert [parent.data.params["seeds"] for parent in (before, now)] == ["1", "2"]
    assert all(run_id in now.data.tags["mlflow.note.content"] for run_id in first)
    names = [each.info.run_name for each in made.store.find("tags.role LIKE '%'")]
    assert len(names) == len(set(names)) == 6


def test_stages_log_each_run_once(made: SimpleNamespace) -> None:
    for command in ("prepare", "teacher", "distil", "evaluate", "run"):
        run(made, command)
    names = [each.info.run_name for each in made.store.find("tags.role LIKE '%'")]
    assert sorted(names) == ["baseline-seed0", "hinton-seed0", "teacher-seed0"]
    count = len(made.store.find(""))
    size = made.store.size()
    for command in ("teacher", "evaluate", "run"):
        run(made, command)
    assert (len(made.store.find("")), made.store.size()) == (count, size)


def test_a_repeated_sweep_adds_nothing(made: SimpleNamespace) -> None:
    words = {**made.words, "methods": "baseline,hinton", "student": "resnet8", "teacher": "resnet8", "seeds": "1"}
    words |= {"epochs": "1", "batch": "16", "jobs": "1", "threads": "1", "datasets": f"npz:{made.data}"}
    arguments = [word for name, value in words.items() for word in (f"--{name}", value)]
    cli.main(["sweep", "--scenarios", "clean,noise0.2", *arguments])
    (sweep,) = made.store.find("tags.stage = 'sweep'")
    studies = made.store.find(f"tags.sweep = '{sweep.data.tags['sweep']}' and tags.stage = 'run'")
    gains = [study.data.metrics["gain/hinton"] for study in studies]
    assert sweep.data.metrics["gain/hinton"] == pytest.approx(sum(gains) / 2)
    assert sweep.data.metrics["studies"] == 2
    assert "noise0.2**: No verdict" in sweep.data.tags["mlflow.note.content"]
    runs, size = {each.info.run_id: each.to_dictionary() for each in made.store.find("")}, made.store.size()
    cli.main(["sweep", "--scenarios", "clean,noise0.2", *arguments])
    assert {each.info.run_id: each.to_dictionary() for each in made.store.find("")} == runs
    assert made.store.size() == size
