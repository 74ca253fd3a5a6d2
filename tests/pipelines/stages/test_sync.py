"""sync: what a study could not log is sent later, to the runs that it has."""

import signal
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipelines import cli, session
from pipelines.tracking.outbox import Outbox
from pipelines.tracking.tracker import MlflowTracker
from tests.pipelines.conftest import MlflowServer, use_store
from tests.pipelines.tracking.run_folders import start_study


@pytest.fixture
def store_uri(store: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    use_store(monkeypatch, store)
    return f"sqlite:///{store / 'mlflow.db'}"


@pytest.fixture
def study(store_uri: str, tmp_path: Path) -> MlflowTracker:
    """A study whose command died with an epoch in its outbox."""
    folder = tmp_path / "studies" / "toy-1234"
    folder.mkdir(parents=True)
    (folder / "study.json").write_text("{}")
    tracker = start_study(folder=folder, tags={"stage": "run"})
    tracker.start_run("hinton-seed0", {"role": "student"}, {})
    tracker.log_epoch("hinton-seed0", 1, {"train/ce": 0.5})
    return tracker


def find_children(tracker: MlflowTracker) -> list[object]:
    where, parent = tracker.parent.experiment, tracker.parent.id
    runs = MlflowClient().search_runs([where], f"tags.`mlflow.parentRunId` = '{parent}'")
    return [(run.info.run_name, run.info.status, run.data.metrics) for run in runs]


@pytest.mark.parametrize("place", ["the study", "the folder of studies"])
def test_what_is_kept_is_sent_and_runs_that_were_left_open_are_closed(
    place: str, study: MlflowTracker, store_uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = study.outbox.folder
    assert find_children(study) == []
    cli.main(["sync", str(folder if place == "the study" else folder.parent)])
    assert capsys.readouterr().out == f"{folder}: 3 entries are sent to {store_uri}\n"
    assert find_children(study) == [("hinton-seed0", "KILLED", {"train/ce": 0.5})]
    assert MlflowClient().get_run(study.parent.id).info.status == "KILLED"
    for given in (folder, folder.parent):
        cli.main(["sync", str(given)])
        assert capsys.readouterr().out == f"{given}: nothing is waiting to be sent to MLflow\n"


def test_without_a_variable_the_store_is_the_one_that_the_study_used(
    study: MlflowTracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI")
        patch.chdir(tmp_path)
        cli.main(["sync", str(study.outbox.folder)])
        assert not Path("mlflow.db").exists()
    assert len(find_children(study)) == 1


def refuse(arguments: list[str], capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == code
    return capsys.readouterr().err


def test_what_is_not_a_study_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "this is not the folder of a study, and contains none" in refuse(["sync", str(tmp_path)], capsys)
    assert "name the folders of studies" in refuse(["sync"], capsys)


def test_another_store_is_refused(
    study: MlflowTracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'other.db'}")
    error = refuse(["sync", str(study.outbox.folder)], capsys)
    assert "outbox.jsonl: 3 entries are for sqlite:" in error
    assert error.endswith("or delete the file\n")


def test_a_study_at_work_is_refused(study: MlflowTracker, capsys: pytest.CaptureFixture[str]) -> None:
    with session.study_lock(study.outbox.folder):
        assert "another command is at work on this study" in refuse(["sync", str(study.outbox.folder)], capsys)


def test_what_the_store_does_not_take_is_kept(
    study: MlflowTracker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise ConnectionError("refused")

    monkeypatch.setattr(MlflowClient, "log_batch", gone)
    monkeypatch.setattr(MlflowClient, "search_experiments", gone)
    monkeypatch.setattr("pipelines.stages.sync.PATIENCE", 0.0)
    error = refuse(["sync", str(study.outbox.folder)], capsys, 1)
    assert error == "robustkd: 2 entries are not sent and are kept; the same command tries again\n"
    assert Outbox(study.outbox.folder).count_unsent() == 2


@pytest.mark.slow
def test_a_server_that_is_away_is_refused_at_once_and_later_receives_the_rest(
    server: str, server_process: MlflowServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = start_study(folder=tmp_path / "toy", tags={"stage": "run"})
    tracker.start_run("hinton-seed0", {}, {})
    server_process.signal(signal.SIGKILL)
    assert f"no MLflow server answers at {server}" in refuse(["sync", str(tmp_path / "toy")], capsys)
    server_process.start()
    cli.main(["sync", str(tmp_path / "toy")])
    assert find_children(tracker) == [("hinton-seed0", "KILLED", {})]
