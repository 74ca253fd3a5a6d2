"""What is logged to MLflow, read back from one SQLite store shared by all tests."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipelines import tracking
from pipelines.tracking import tracker as tracker_
from pipelines.tracking.headline import Headline
from pipelines.tracking.outbox import Outbox
from pipelines.tracking.sender import send_outbox
from robustkd.errors import UsageError
from tests.pipelines.conftest import use_store
from tests.pipelines.tracking.run_folders import (
    DATASET,
    assert_predictions_match,
    make_run,
    start_study,
    tracked_run_id,
)

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def client(store, monkeypatch):
    use_store(monkeypatch, store)
    return MlflowClient()


def list_artifacts(client, tracked_run_id, path=None):
    return {file.path for file in client.list_artifacts(tracked_run_id, path)}


@pytest.fixture(scope="module")
def logged(store, tmp_path_factory):
    """A study of a teacher, a student and a failed run, as logged to MLflow."""
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        use_store(patch, store)
        manifest = folder / "manifest-0.csv"
        manifest.write_text("row,label\n0,1\n")
        tracker = start_study(
            params={"scenario": "noise0.4", "seeds": 3},
            resolved={"lr": 0.1, **{f"p{i}": i for i in range(230)}},
            config={"what": "süß", "where": folder},
            scenario_files=[manifest],
            tags={"stage": "run"},
        )
        teacher, student = make_run(folder, "teacher-seed0", role="teacher"), make_run(folder, "hinton-seed0")
        for (path, _), role in ((teacher, "teacher"), (student, "student")):
            tracker.start_run(
                path.name, {"role": role, "method": "hinton", "seed": "0"}, {"hinton.alpha": 0.9, "note": "x" * 9000}
            )
            for step in range(1, 31):
                tracker.log_epoch(
                    path.name, step, {"train/ce": 1 / step, "test/accuracy": 0.5, "held_out/accuracy": float("nan")}
                )
            tracker.finish_run(path.name, path)
        tracker.start_run("dml-seed0", {"role": "student"}, {})
        tracker.fail_run("dml-seed0", "'ce' is not finite")
        (folder / "comparison").mkdir()
        for name in ("summary.csv", "comparison.md", "curves.png", "left.out"):
            (folder / "comparison" / name).write_text("x")
        headline = Headline({"best_gain": 0.9}, "It *is* better.", "hinton")
        tracker.finish_study(folder / "comparison", status="FINISHED", summarise=lambda: headline)
        client = MlflowClient()
        parent = client.get_run(tracker.parent.id)
        children = client.search_runs([tracker.parent.experiment], f"tags.`mlflow.parentRunId` = '{tracker.parent.id}'")
        return SimpleNamespace(
            parent=parent,
            children={child.info.run_name: child for child in children},
            folder=folder,
            student=student[0],
            where=tracker.location,
        )


# Parent and child runs


def test_a_study_is_a_parent_run_with_a_child_for_each_of_its_runs(logged, client):
    assert logged.parent.info.run_name == "study"
    assert logged.parent.info.status == "FINISHED"
    assert client.get_experiment(logged.parent.info.experiment_id).name == "tests"
    assert {name: child.info.status for name, child in logged.children.items()} == {
        "teacher-seed0": "FINISHED",
        "hinton-seed0": "FINISHED",
        "dml-seed0": "FAILED",
    }
    assert logged.children["dml-seed0"].data.tags["failure"] == "'ce' is not finite"
    tags = logged.children["hinton-seed0"].data.tags
    assert {key: tags[key] for key in ("role", "method", "seed")} == {
        "role": "student",
        "method": "hinton",
        "seed": "0",
    }
    assert "mlflow.user" in tags
    assert logged.parent.info.run_id in logged.where


def test_the_parent_run_has_options_resolved_settings_and_data_set(logged, client):
    params = logged.parent.data.params
    assert (params["scenario"], params["seeds"], params["resolved/lr"]) == ("noise0.4", "3", "0.1")
    assert sum(key.startswith("resolved/p") for key in params) == 230  # MLflow takes 100 at once
    assert logged.parent.data.metrics == {"best_gain": 0.9}
    assert list_artifacts(client, logged.parent.info.run_id) == {"config.json", "scenario", "comparison"}
    assert list_artifacts(client, logged.parent.info.run_id, "scenario") == {"scenario/manifest-0.csv"}
    tables = {f"comparison/{name}" for name in ("summary.csv", "comparison.md", "curves.png")}
    assert list_artifacts(client, logged.parent.info.run_id, "comparison") == tables
    config = mlflow.artifacts.load_dict(f"{logged.parent.info.artifact_uri}/config.json")
    assert config == {"what": "süß", "where": str(logged.folder)}
    (data,) = logged.parent.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("digits", DATASET["digest"][:36])
    assert json.loads(data.dataset.profile) == {"train": 7}
    assert [(tag.key, tag.value) for tag in data.tags] == [("mlflow.data.context", "training")]


def test_a_data_set_of_files_is_logged_with_its_path(client, tmp_path):
    tracker = start_study(dataset={"name": "parts", "digest": "d", "source": f"folder:{tmp_path}"})
    (data,) = client.get_run(tracker.parent.id).inputs.dataset_inputs
    assert (data.dataset.source_type, json.loads(data.dataset.source)) == ("local", {"uri": str(tmp_path)})


def test_a_child_run_has_history_metrics_params_and_files(logged, client):
    run = logged.children["hinton-seed0"]
    history = client.get_metric_history(run.info.run_id, "train/ce")
    assert [(point.step, point.value) for point in history] == [(step, 1 / step) for step in range(1, 31)]
    # Of a net as sure as 1/2 of each: Brier is 3/8 where it is right, 7/8 where not.
    overall = {"accuracy": 0.8, "balanced_accuracy": 0.75, "worst_recall": 0.5}
    overall |= {"worst_three": 0.75, "worst_quarter": 0.5}
    overall |= {"macro_f1": (2 / 3 + 6 / 7) / 2, "nll": np.log(2) + np.log(2) / 5, "brier": 0.475, "ece": 0.3}
    assert run.data.metrics == pytest.approx(
        {
            **{"train/ce": 1 / 30, "test/accuracy": 0.5, "cost/parameters": 9, "cost/macs": 9},
            **{"training/seconds": 3.0, "training/images_per_second": 30.0, "training/skipped_updates": 0},
            **overall,
            **{f"early/{name}": value for name, value in overall.items()},
            **{f"auxiliary/ensemble/{name}": value for name, value in {**overall, "accuracy": 0.6}.items()},
            # a/b has no samples and is never predicted: it has no metrics
            **{"recall/süß_ sauer": 0.5, "recall/süß_ sauer_2": 1.0},
            **{"precision/süß_ sauer": 1.0, "precision/süß_ sauer_2": 0.75},
            **{"f1/süß_ sauer": 2 / 3, "f1/süß_ sauer_2": 6 / 7},
        }
    )
    assert run.data.params == {
        **{"hinton.alpha": "0.9", "note": "x" * 6000, "updates": "10", "samples": "90", "early_epoch": "None"},
        **{"precision": "fp32", "device": "cpu", "torch": "0", "version": "0"},
    }
    kept = {"model.pt", "early.pt", "epochs.csv", "result.json", "confusion.png"}
    assert list_artifacts(client, run.info.run_id) == kept


def test_a_tracked_run_writes_its_reference_to_its_folder(logged, store):
    mark = json.loads((logged.student / "tracked.json").read_text())
    assert mark["run_id"] == logged.children["hinton-seed0"].info.run_id
    assert mark["tracking_uri"] == f"sqlite:///{store / 'mlflow.db'}"
    assert mark["model_uri"].startswith("models:/m-")
    teacher = json.loads((logged.folder / "teacher-seed0" / "tracked.json").read_text())
    assert teacher["model_uri"] is None


# The model


def test_a_student_is_logged_as_a_model_of_its_run(logged, client):
    run = logged.children["hinton-seed0"]
    (output,) = run.outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    assert (model.name, model.source_run_id, model.experiment_id) == ("model", run.info.run_id, run.info.experiment_id)
    assert model.status.name == "READY"
    assert {metric.key: metric.value for metric in model.metrics}["accuracy"] == 0.8
    assert logged.children["teacher-seed0"].outputs.model_outputs == []


@pytest.mark.parametrize("reader", ["default", "no pickle", "with a GPU"])
def test_the_logged_model_predicts_the_networks_probabilities_for_any_batch_size(logged, reader, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", str(reader != "no pickle").lower())
    if reader == "with a GPU":
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    uri = json.loads((logged.student / "tracked.json").read_text())["model_uri"]
    assert_predictions_match(mlflow.pyfunc.load_model(uri), logged.student / "model.pt", (8, 8, 3))


def test_the_signature_rejects_images_of_another_shape_or_type(logged):
    model = mlflow.pyfunc.load_model(json.loads((logged.student / "tracked.json").read_text())["model_uri"])
    for images in (np.zeros((2, 9, 8, 3), np.uint8), np.zeros((2, 8, 8, 3), np.float32)):
        with pytest.raises(MlflowException):
            model.predict(images)


def test_a_network_that_cannot_be_exported_is_logged_without_a_model(client, tmp_path, monkeypatch, capsys):
    def fails(*_):
        raise RuntimeError("data-dependent control flow")

    monkeypatch.setattr("pipelines.tracking.models.save_model", fails)
    path, _ = make_run(tmp_path, "hinton-seed0")
    tracker = start_study()
    tracker.start_run(path.name, {}, {})
    tracker.finish_run(path.name, path)
    tracker.sender.send()
    assert "no model is logged to MLflow (data-dependent control flow)" in capsys.readouterr().out
    run = client.get_run(tracked_run_id(path))
    assert (run.info.status, run.data.metrics["accuracy"]) == ("FINISHED", 0.8)
    assert "data-dependent" in run.data.tags["model"]


# Logging


def test_epochs_are_sent_in_batches_and_none_is_lost(client, monkeypatch):
    tracker = start_study()
    tracker.start_run("hinton-seed0", {}, {})
    for step in range(1, 252):
        tracker.log_epoch("hinton-seed0", step, {"train/ce": step, "test/accuracy": float("inf")})
        tracker.log_epoch("hinton-seed0", step, {"train/ce": -1.0})  # again, by a run that continues from its last save
    sizes = []
    log_batch = MlflowClient.log_batch
    monkeypatch.setattr(
        MlflowClient, "log_batch", lambda *a, **k: sizes.append(len(k.get("metrics", ()))) or log_batch(*a, **k)
    )
    run = tracker.sender.send()["hinton-seed0"]
    assert [size for size in sizes if size] == [100, 100, 51]
    tracker.fail_run("hinton-seed0", "enough")
    tracker.log_epoch("hinton-seed0", 252, {"train/ce": 0.0})  # a late event from another process
    tracker.finish_study(None, "FINISHED")
    points = [(point.step, point.value) for point in client.get_metric_history(run, "train/ce")]
    assert points == [(step, step) for step in range(1, 252)]


def test_a_study_that_is_stopped_leaves_no_run_open(client):
    tracker = start_study()
    tracker.start_run("hinton-seed0", {}, {})
    tracker.log_epoch("hinton-seed0", 1, {"train/ce": 1.0})
    run = tracker.sender.send()["hinton-seed0"]
    tracker.finish_study(None, "FAILED")
    assert client.get_run(run).info.status == "KILLED"
    assert client.get_run(run).data.metrics == {"train/ce": 1.0}
    assert client.get_run(tracker.parent.id).info.status == "FAILED"


def test_when_all_is_sent_nothing_is_left_of_the_queue(tmp_path):
    tracker = start_study(folder=tmp_path)
    tracker.start_run("dml-seed0", {}, {})
    assert {path.name for path in tmp_path.iterdir()} == {"tracked.json", "outbox.jsonl"}
    tracker.finish_study(None, "FINISHED")
    assert {path.name for path in tmp_path.iterdir()} == {"tracked.json"}


def test_if_the_store_fails_the_study_goes_on_and_a_line_says_how_to_send_the_rest(
    client, tmp_path, monkeypatch, capsys
):
    def gone(*_, **__):
        raise MlflowException("API request failed: 503")

    tracker = start_study(folder=tmp_path)
    tracker.start_run("dml-seed0", {}, {})
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_run", gone)
        patch.setattr(MlflowClient, "search_experiments", gone)
        tracker.log_epoch("dml-seed0", 1, {"train/ce": 1.0})
        tracker.fail_run("dml-seed0", "no")
        tracker.finish_study(None, "FINISHED")
    first, second = capsys.readouterr().out.splitlines()
    kept = tmp_path / "outbox.jsonl"
    assert first == f"MLflow does not answer (API request failed: 503); what is logged is kept in {kept} meanwhile"
    assert second == f"MLflow has not received all of this study: `robustkd sync {tmp_path}` sends the rest"
    assert client.get_run(tracker.parent.id).info.status == "RUNNING"
    assert send_outbox(tmp_path, lambda *_: None, lambda _: False)
    assert client.get_run(tracker.parent.id).info.status == "FINISHED"
    (child,) = client.search_runs([tracker.parent.experiment], f"tags.`mlflow.parentRunId` = '{tracker.parent.id}'")
    assert (child.info.status, child.data.metrics) == ("FAILED", {"train/ce": 1.0})


def test_a_full_disk_ends_logging_but_not_the_study(tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    tracker = start_study(folder=tmp_path)
    monkeypatch.setattr(Outbox, "append", full)
    tracker.start_run("dml-seed0", {}, {})
    tracker.log_epoch("dml-seed0", 1, {"train/ce": 1.0})
    tracker.finish_study(None, "FINISHED")
    expected = (
        f"{tmp_path / 'outbox.jsonl'} cannot be written (No space left on device), so the rest of this study is in its"
    )
    assert capsys.readouterr().out.startswith(expected)


def test_a_process_that_sends_and_dies_is_started_again_a_few_times(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(tracker_, "SenderProcess", lambda outbox: started.append(outbox) or DeadSender())
    tracker = start_study(folder=tmp_path)
    for step in range(10):
        tracker.start_run(f"dml-seed{step}", {}, {})
    assert len(started) == tracker_.STARTS


def test_the_process_that_sends_is_ended_even_if_the_study_cannot_be_summarised(tmp_path):
    """It ignores signals, so that Python would wait for it at exit without end."""

    def fail():
        raise ValueError("no answer")

    tracker = start_study(folder=tmp_path)
    tracker.start_run("dml-seed0", {}, {})
    assert (tmp_path / "outbox.jsonl").exists()
    with pytest.raises(ValueError, match="no answer"):
        tracker.finish_study(None, "FAILED", fail)
    assert not (tmp_path / "outbox.jsonl").exists(), "all was sent"


class DeadSender:
    def is_alive(self):
        return False


def test_what_waits_for_another_store_is_not_sent_to_this_one(tmp_path):
    start_study(folder=tmp_path).start_run("dml-seed0", {}, {})
    kept = (tmp_path / "outbox.jsonl").read_text()
    (tmp_path / "outbox.jsonl").write_text(kept.replace("sqlite:///", "postgresql://host/"))
    with pytest.raises(UsageError, match=r"outbox.jsonl: 2 entries are for postgresql://host/.*`robustkd sync`"):
        start_study(folder=tmp_path)


@pytest.mark.slow  # MLflow waits for 20 s
def test_a_locked_store_is_reported_in_one_sentence(store, capfd):
    tracker = start_study()
    tracker.start_run("dml-seed0", {}, {})
    held = sqlite3.connect(store / "mlflow.db", isolation_level=None)
    held.execute("BEGIN EXCLUSIVE")
    try:
        tracker.sender.send()
    finally:
        held.execute("ROLLBACK")
        held.close()
    captured = capfd.readouterr()
    assert "MLflow does not answer ((sqlite3.OperationalError) database is locked); what is logged" in captured.out
    assert (captured.out.count("\n"), captured.err) == (1, "")
    tracker.finish_study(None, "FAILED")
    assert MlflowClient().get_run(tracker.parent.id).info.status == "FAILED"


def test_plain_files_need_no_tracker(tmp_path):
    tracker = start_study(tracking.open_tracker("files", None))
    tracker.start_run("a", {}, {})
    tracker.log_epoch("a", 1, {})
    tracker.finish_run("a", tmp_path)
    tracker.fail_run("a", "no")
    tracker.log_finished_run("b", {}, {}, tmp_path)
    tracker.finish_study(None, "FINISHED")
    assert tracker.location == ""
    assert not list(tmp_path.iterdir())


def test_importing_the_package_imports_neither_mlflow_nor_torch():
    code = (
        "import sys, pipelines.tracking; raise SystemExit(bool({'mlflow', 'torch', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0


# Refusals


def test_a_parent_that_cannot_be_written_is_refused_in_one_sentence(monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    with pytest.raises(UsageError, match=r"MLflow cannot be used .*not found.*`--tracker files`"):
        start_study()


# References


def test_a_reference_downloads_the_saved_network(logged, client):
    run, model = tracked_run_id(logged.student), json.loads((logged.student / "tracked.json").read_text())["model_uri"]
    client.create_registered_model("parts")
    client.create_model_version("parts", model, run)
    saved = (logged.student / "model.pt").read_bytes()
    for reference in (run, f"runs:/{run}", f"runs:/{run}/model.pt", f"runs:/{run}/model", model, "models:/parts/1"):
        path = tracking.download_network(reference)
        assert path.read_bytes() == saved, reference
        assert path != logged.student / "model.pt"
    assert tracking.download_network(f"runs:/{run}/early.pt").name == "early.pt"


# A real server


@pytest.mark.slow
def test_a_tracking_server_receives_the_same(server, tmp_path, capfd):
    path, _ = make_run(tmp_path, "hinton-seed0")
    tracker = start_study(params={"scenario": "noise0.4"}, config={"a": 1})
    tracker.start_run(path.name, {"role": "student"}, {})
    tracker.log_epoch(path.name, 1, {"train/ce": 1.0})
    tracker.finish_run(path.name, path)
    tracker.finish_study(None, "FINISHED")
    said = capfd.readouterr()
    assert said.out + said.err == ""
    assert tracker.location == f"{server}/#/experiments/{tracker.parent.experiment}/runs/{tracker.parent.id}"
    client = MlflowClient()
    run = client.get_run(tracked_run_id(path))
    assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
    assert run.data.metrics["recall/süß_ sauer_2"] == 1.0
    uri = json.loads((path / "tracked.json").read_text())["model_uri"]
    assert_predictions_match(mlflow.pyfunc.load_model(uri), path / "model.pt", (8, 8, 3))
    located = client.get_logged_model(uri.partition("/")[2]).artifact_location
    for reference in (run.info.run_id, uri, f"runs:/{run.info.run_id}/model", located):
        assert tracking.download_network(reference).read_bytes() == (path / "model.pt").read_bytes(), reference
    with pytest.raises(UsageError, match=r"has no model.pt"):
        tracking.download_network("f" * 32)
