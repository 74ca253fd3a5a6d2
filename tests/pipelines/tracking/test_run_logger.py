"""Entries that are repeated because a store did not confirm them leave what they leave when they are written once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.models import Model

from pipelines import tracking
from pipelines.tracking import sender
from pipelines.tracking.headline import Headline
from pipelines.tracking.models import log_model
from pipelines.tracking.outbox import Outbox
from pipelines.tracking.run_logger import RunLogger, read_epoch_metrics
from pipelines.tracking.sender import send_outbox
from pipelines.tracking.tracker import MlflowTracker
from robustkd.study.results import RunKey
from tests.pipelines.conftest import use_store
from tests.pipelines.tracking.run_folders import DATASET, make_run

REQUESTS = (  # all that change something
    "create_run",
    "log_batch",
    "log_inputs",
    "log_outputs",
    "log_artifact",
    "set_tag",
    "set_terminated",
    "create_logged_model",
    "log_model_artifacts",
    "finalize_logged_model",
)


@pytest.fixture(params=["database", "files"])
def client(
    request: pytest.FixtureRequest, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> MlflowClient:
    """A store of each kind."""
    use_store(monkeypatch, store)
    if request.param == "files":
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
        monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pipelines.tracking.models.save_model", save_empty_model)
    monkeypatch.setattr(sender, "DELAYS", (0.0,))
    monkeypatch.setattr(sender, "ATTEMPTS", 1000)
    return MlflowClient()


def save_empty_model(path: Path, to: Path) -> Model:
    to.mkdir()
    (to / "model.txt").write_text(path.name)
    return Model()


def queue_study(folder: Path, experiment: str) -> MlflowTracker:
    """Queue a study with a run of each kind."""
    tracker = tracking.open_tracker("mlflow", experiment)
    assert isinstance(tracker, MlflowTracker)
    tracker.start_study("study", {"seeds": 3}, {}, {}, [], DATASET, {"stage": "run", "study": "study"}, folder)
    earlier, _ = make_run(folder / "runs", "hinton-seed0", finished=1_700_000_000.0)
    (earlier / "epochs.csv").write_text("epoch,phase,seconds,ce\n1,train,1.0,0.5\n2,train,2.0,0.25\n")
    tracker.log_finished_run(earlier.name, {"role": "student", "study": "study"}, {"seed": 0}, earlier)
    make_run(folder / "runs", "hinton-seed1")
    for name in ("hinton-seed1", "hinton-seed2", "hinton-seed3", "hinton-seed4"):
        tracker.start_run(name, {"role": "student"}, {"seed": name[-1]})
        for step in (1, 2, 3):
            tracker.log_epoch(name, step, {"train/ce": 1 / step, "test/accuracy": step / 4})
    tracker.finish_run("hinton-seed1", folder / "runs" / "hinton-seed1")
    tracker.fail_run("hinton-seed2", "'ce' is not finite")
    tracker.pause_run("hinton-seed4", {"share": "0.5"})
    (folder / "comparison").mkdir()
    (folder / "comparison" / "report.html").write_text("<p>")
    return tracker


def finish(tracker: MlflowTracker, folder: Path) -> str:
    """Close the study; return the id of its run."""
    tracker.finish_study(folder / "comparison", "FINISHED", lambda: Headline({"best_gain": 0.5}, "Yes.", "hinton"))
    return tracker.parent.id


def describe(client: MlflowClient, parent: str) -> dict[str, Any]:
    """Return all that a study left in MLflow, without what differs between two studies: ids and dates."""
    where = client.get_run(parent).info.experiment_id
    children = client.search_runs([where], f"tags.`mlflow.parentRunId` = '{parent}'")
    models = client.search_logged_models([where])
    content: dict[str, Any] = {
        "models": sorted((model.name, model.status, str(model.params)) for model in models),
        "runs": sorted(str(run.info.run_name) for run in children),
    }
    for run in [client.get_run(parent), *children]:
        tags = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")}
        history = {
            key: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, key)]
            for key in run.data.metrics
        }
        files = sorted(file.path for file in client.list_artifacts(run.info.run_id))
        data = [each.dataset.name for each in run.inputs.dataset_inputs]
        outputs = len(run.outputs.model_outputs) if run.outputs else 0
        name = "study" if run.info.run_id == parent else run.info.run_name
        content[name] = (run.info.status, run.data.params, tags, history, files, data, outputs)
    return content


def test_if_each_request_is_executed_but_not_confirmed_nothing_is_there_twice(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = finish(queue_study(tmp_path / "a", f"{tmp_path.name} a"), tmp_path / "a")
    expected = describe(client, undisturbed)
    statuses = [expected[f"hinton-seed{seed}"][0] for seed in range(5)]
    assert statuses == ["FINISHED", "FINISHED", "FAILED", "KILLED", "FINISHED"]
    assert expected["hinton-seed4"][2]["share"] == "0.5", "of a run that is paused"
    assert expected["hinton-seed0"][3]["train/ce"] == [(1, 0.5), (2, 0.25)]
    assert expected["hinton-seed1"][3]["train/ce"] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert len(expected["models"]) == 2

    tracker = queue_study(tmp_path / "b", f"{tmp_path.name} b")
    counts = lose_confirmations(monkeypatch)
    monkeypatch.setattr("tests.pipelines.conftest.InlineSender.close", lambda self, *_: None)
    parent = finish(tracker, tmp_path / "b")
    assert send_outbox(tmp_path / "b", lambda *_: None, lambda _: False, patience=1e9)
    assert describe(client, parent) == expected
    assert set(counts) == set(REQUESTS)
    assert not Outbox(tmp_path / "b").size


def lose_confirmations(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Let each request fail after it was executed, the first time that it is made; return how often each did."""
    counts: dict[str, int] = {}
    made: set[str] = set()

    def losing(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def request(client: MlflowClient, *arguments: Any, **keywords: Any) -> Any:
            answer = method(client, *arguments, **keywords)
            what = repr((name, [str(each) for each in arguments], sorted(keywords)))
            if name == "log_model_artifacts":  # its folder is a new one each time
                what = repr((name, arguments[0]))
            if what not in made:
                made.add(what)
                counts[name] = counts.get(name, 0) + 1
                raise ConnectionError("the connection was closed")
            return answer

        return request

    for name in REQUESTS:
        monkeypatch.setattr(MlflowClient, name, losing(name, getattr(MlflowClient, name)))
    return counts


def test_a_sender_that_dies_after_any_entry_is_continued_by_another(client: MlflowClient, tmp_path: Path) -> None:
    expected = describe(client, finish(queue_study(tmp_path / "a", f"{tmp_path.name} a"), tmp_path / "a"))
    tracker = queue_study(tmp_path / "b", f"{tmp_path.name} b")
    outbox = Outbox(tmp_path / "b")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.pipelines.conftest.InlineSender.close", lambda self, *_: None)
        parent = finish(tracker, tmp_path / "b")
    for line in outbox.read(0):
        for _ in range(2):  # the first process dies before it takes a note of what it has written
            logger = RunLogger(tmp_path / "b", outbox.load_sent(), lambda _: None)
            logger.is_repeated = True
            logger.write([line.entry])
        logger.sent.position = line.end
        outbox.acknowledge(logger.sent)
    assert send_outbox(tmp_path / "b", lambda *_: None, lambda _: False)
    assert describe(client, parent) == expected


def test_the_runs_of_a_command_that_was_killed_are_closed_when_the_rest_is_sent(
    client: MlflowClient, tmp_path: Path
) -> None:
    tracker = queue_study(tmp_path / "a", f"{tmp_path.name} a")
    assert send_outbox(tmp_path / "a", lambda *_: None, lambda _: False)
    content = describe(client, tracker.parent.id)
    assert [content[name][0] for name in ("study", "hinton-seed1", "hinton-seed3")] == ["KILLED", "FINISHED", "KILLED"]
    assert not Outbox(tmp_path / "a").size


def test_what_a_killed_sender_left_in_the_folder_for_temporary_files_is_removed(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch, used = tmp_path / "scratch", []
    (scratch / "robustkd-of-another").mkdir(parents=True)
    monkeypatch.setattr("tempfile.tempdir", str(scratch))

    def save(path: Path, to: Path) -> Model:
        used.append(to.parent)
        return save_empty_model(path, to)

    monkeypatch.setattr("pipelines.tracking.models.save_model", save)
    experiment = client.create_experiment(f"{tmp_path.name} scratch")
    key = RunKey(role="student", method="hinton", criterion="ce", seed=0)
    for _ in range(2):
        log_model(client, experiment, client.create_run(experiment).info.run_id, tmp_path / "model.pt", key)
        assert [file.name for file in scratch.iterdir()] == ["robustkd-of-another"]
        (used[-1] / "model").mkdir(parents=True)  # as a process leaves it that is killed
    assert used[0] != used[1]


def test_a_study_that_was_moved_is_sent_from_where_it_is(client: MlflowClient, tmp_path: Path) -> None:
    tracker = queue_study(tmp_path / "a", f"{tmp_path.name} a")
    (tmp_path / "a").rename(tmp_path / "b")
    assert send_outbox(tmp_path / "b", lambda *_: None, lambda _: False)
    assert describe(client, tracker.parent.id)["hinton-seed1"][0] == "FINISHED"


def test_epochs_without_a_file_are_none(tmp_path: Path) -> None:
    assert read_epoch_metrics(tmp_path) == []
