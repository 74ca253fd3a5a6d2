"""Finished runs that are logged again: only what the store does not have yet."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipelines.tracking.run_logger import RunLogger
from pipelines.tracking.tracked import TrackedRun, read_tracked_run, write_tracked
from robustkd.study.results import write_document
from tests.pipelines.conftest import use_store
from tests.pipelines.tracking.run_folders import make_run, start_study, tracked_run_id

BEGAN, ENDED = 1_700_000_000.0, 1_700_000_003.0  # make_run's trainings take 3 s
TAGS = {"role": "student", "method": "hinton", "seed": "0", "study": "toy-1234"}
PARAMS = {"scenario": "noise0.4", "lr": 0.1, "method": "hinton"}


@pytest.fixture(autouse=True)
def client(store, monkeypatch):
    use_store(monkeypatch, store)
    monkeypatch.setattr(RunLogger, "_log_model", lambda *_: None)  # no test needs the models
    return MlflowClient()


@pytest.fixture
def run(tmp_path):
    """The folder of a finished run and its result."""
    path, result = make_run(tmp_path, "hinton-seed0", finished=ENDED)
    (path / "epochs.csv").write_text("epoch,phase,seconds,ce\n1,train,2.0,1.0\n")
    return path, result


def log(run, **changes):
    """Log a finished run in a study of its own; return the study's tracker."""
    path, _ = run
    tracker = start_study(**changes)
    tracker.log_finished_run(path.name, TAGS, PARAMS, path)
    tracker.finish_study(None, "FINISHED")
    return tracker


def list_children(client, name="tests"):
    where = client.get_experiment_by_name(name).experiment_id
    return client.search_runs([where], "params.scenario = 'noise0.4' and tags.method = 'hinton'")


def test_a_run_that_was_never_logged_keeps_its_times(client, run):
    log(run, experiment="times")
    child = client.get_run(tracked_run_id(run[0]))
    assert child.data.tags["reused_from"] == "toy-1234"
    assert (child.info.start_time, child.info.end_time) == (1000 * BEGAN, 1000 * ENDED)
    stamps = [client.get_metric_history(child.info.run_id, name)[0].timestamp for name in ("train/ce", "accuracy")]
    assert stamps == [1000 * (BEGAN + 2), 1000 * ENDED]
    assert [found.info.run_id for found in list_children(client, "times")] == [child.info.run_id]


def test_a_run_that_is_logged_already_is_linked_and_not_changed(client, run):
    first = log(run, experiment="linked")
    before = [child.to_dictionary() for child in list_children(client, "linked")]
    second = log(run, experiment="linked")
    assert [child.to_dictionary() for child in list_children(client, "linked")] == before
    note = client.get_run(second.parent.id).data.tags["mlflow.note.content"]
    assert "\n\nRuns logged by an earlier command: [hinton-seed0](#/experiments/" in note
    assert tracked_run_id(run[0]) in note
    assert "Runs logged" not in client.get_run(first.parent.id).data.tags["mlflow.note.content"]


def measure_store(store):
    """Return the size of all artifacts of a store in bytes, and the number of its points of metrics."""
    files = [path for path in (store / "mlruns").rglob("*") if path.is_file()]
    with closing(sqlite3.connect(store / "mlflow.db")) as connection:
        (points,) = connection.execute("select count(*) from metrics").fetchone()
    return sum(path.stat().st_size for path in files), points


def test_a_command_that_is_killed_again_and_again_uploads_nothing_twice(client, store, run, tmp_path):
    path, _ = run
    study = {"folder": tmp_path, "tags": {"stage": "run"}, "experiment": "killed"}
    tracker = start_study(**study)
    tracker.log_finished_run(path.name, TAGS, PARAMS, path)
    tracker.sender.send()
    size, points = measure_store(store)
    assert size > (path / "model.pt").stat().st_size
    for _ in range(3):  # each is killed before it closes the study
        tracker = start_study(**study)
        tracker.log_finished_run(path.name, TAGS, PARAMS, path)
        if tracker.sender is not None:
            tracker.sender.send()
    assert measure_store(store) == (size, points)
    assert len(list_children(client, "killed")) == 1


def test_a_run_that_was_evaluated_again_is_updated_in_place(client, run):
    path, result = run
    log(run, experiment="updated")
    better = result.last.model_copy(update={"metrics": {**result.last.metrics, "accuracy": 0.7, "new": 0.5}})
    write_document(path / "result.json", result.model_copy(update={"last": better}))
    log((path, result.model_copy(update={"last": better})), experiment="updated")
    (child,) = list_children(client, "updated")
    assert (child.data.metrics["accuracy"], child.data.metrics["new"]) == (0.7, 0.5)  # the newest, not the largest
    assert child.info.end_time == 1000 * ENDED
    text = Path(client.download_artifacts(child.info.run_id, "result.json")).read_text()
    assert json.loads(text)["last"]["metrics"]["new"] == 0.5
    history = client.get_metric_history(child.info.run_id, "train/ce")
    assert len(history) == 1
    log((path, result.model_copy(update={"last": better})), experiment="updated")
    assert len(client.get_metric_history(child.info.run_id, "accuracy")) == 2


def test_a_run_that_an_earlier_version_logged_becomes_searchable(client, run):
    path, _ = run
    where = client.create_experiment("earlier")
    parent = client.create_run(where, tags={"study": "toy-1234", "stage": "run"}).info.run_id
    old = client.create_run(where, tags={"method": "hinton", "mlflow.parentRunId": parent}, run_name=path.name)
    client.set_terminated(old.info.run_id)
    write_tracked(path, TrackedRun(old.info.run_id, MlflowClient().tracking_uri))
    assert list_children(client, "earlier") == []
    log(run, experiment="earlier")
    (child,) = list_children(client, "earlier")
    assert child.info.run_id == old.info.run_id
    assert child.data.tags["study"] == "toy-1234"
    assert [data.dataset.name for data in child.inputs.dataset_inputs] == ["digits"]
    assert read_tracked_run(path).digest


@pytest.mark.parametrize("reason", ["deleted", "parent deleted", "in another store", "unknown", "failed"])
def test_a_run_that_the_store_does_not_have_is_logged_with_a_reference_to_the_first(client, run, reason):
    path, _ = run
    first = log(run)
    before = read_tracked_run(path)
    if reason == "deleted":
        client.delete_run(before.run_id)
    elif reason == "parent deleted":
        client.delete_run(first.parent.id)
    elif reason == "in another store":
        write_tracked(path, TrackedRun(before.run_id, "http://elsewhere:5000", None, before.digest))
    elif reason == "unknown":
        before = TrackedRun("0" * 32, before.tracking_uri, None, before.digest)
        write_tracked(path, before)
    else:
        client.set_terminated(before.run_id, "FAILED")
    log(run)
    again = client.get_run(tracked_run_id(path))
    assert again.info.run_id != before.run_id
    assert again.data.tags["reused_from"] == before.run_id
