"""Versions in MLflow's model registry, and the models and results that they are made from."""

import json
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient

from pipelines import cli, tracking
from pipelines.tracking import registry
from robustkd.errors import UsageError
from tests.pipelines.conftest import use_store
from tests.pipelines.exports import refused, save_untrained, study


@pytest.fixture(scope="module")
def logged(store, tmp_path_factory):
    """A run's folder whose net is a model in MLflow, and the run."""
    folder = tmp_path_factory.mktemp("logged")
    run = study(folder / "toy")
    with pytest.MonkeyPatch.context() as patch:
        use_store(patch, store)
        tracker = tracking.open_tracker("mlflow", "exports")
        data = {"name": "digits", "digest": "0" * 16, "source": "digits"}
        config = json.loads((folder / "toy" / "study.json").read_text())
        tracker.start_study("toy", {}, {}, config, [], data, tags={}, folder=folder / "toy")
        tracker.start_run(run.name, {"role": "student"}, {})
        tracker.finish_run(run.name, run)
        tracker.finish_study(None, "FINISHED")
    return SimpleNamespace(folder=folder / "toy", run=run, **json.loads((run / "tracked.json").read_text()))


@pytest.fixture
def client(store, monkeypatch):
    use_store(monkeypatch, store)
    return MlflowClient()


def test_a_model_is_registered_once_under_any_of_its_names(logged, client, capfd):
    folder = [str(logged.folder), "--method", "hinton+balanced"]
    names = [
        folder,
        [str(logged.run / "model.pt")],
        [logged.run_id],
        [f"runs:/{logged.run_id}/model"],
        [logged.model_uri],
    ]
    for n, name in enumerate(names):
        cli.main(["export", *name, "--register", "small parts", "--alias", "candidate"])
        said = capfd.readouterr()
        assert said.err == ""
        state = "already registered as" if n else "registered as"
        assert said.out == f"{state} version 1 of small parts: models:/small parts@candidate\n"
    (version,) = client.search_model_versions("name = 'small parts'")
    assert (version.source, version.run_id) == (logged.model_uri, logged.run_id)
    assert client.get_model_version_by_alias("small parts", "candidate").version == version.version
    cli.main(["export", "models:/small parts@candidate", "--register", "parts2"])
    assert capfd.readouterr().out == "registered as version 1 of parts2: models:/parts2/1\n"
    assert client.get_model_version("parts2", "1").source == logged.model_uri


def test_a_moved_alias_is_reported_with_its_previous_version(logged, client, capfd):
    client.create_registered_model("moved")
    client.create_model_version("moved", str(logged.run), None)
    client.set_registered_model_alias("moved", "candidate", "1")
    cli.main(["export", logged.run_id, "--register", "moved", "--alias", "candidate"])
    message = "registered as version 2 of moved (candidate was version 1): models:/moved@candidate\n"
    assert capfd.readouterr().out == message


def test_a_network_exported_from_mlflow_has_its_metrics(logged, client, tmp_path):
    for n, name in enumerate((logged.run_id, logged.model_uri)):
        cli.main(["export", name, "--to", str(tmp_path / str(n)), "--formats", "torch"])
        about = json.loads((tmp_path / str(n) / "card.json").read_text())
        assert about["figures"]["accuracy"] == pytest.approx(2 / 3)
        assert (about["test_labels"], about["dataset"]["fingerprint"]) == ("clean", "f" * 16)


def test_a_model_in_another_store_is_refused(logged, client, tmp_path, monkeypatch, capsys):
    mark = logged.run / "tracked.json"
    before = mark.read_text()
    mark.write_text(json.dumps({**json.loads(before), "tracking_uri": "http://elsewhere:5000"}))
    try:
        message = refused([logged.run / "model.pt", "--register", "parts", "--to", tmp_path / "out"], capsys)
    finally:
        mark.write_text(before)
    assert "its model is in http://elsewhere:5000, and this is sqlite:" in message
    assert "set MLFLOW_TRACKING_URI" in message
    assert not (tmp_path / "out").exists()


def test_a_teacher_has_no_model_to_register(tmp_path, client, capsys):
    save_untrained(tmp_path / "model.pt", role="teacher")
    (tmp_path / "tracked.json").write_text(json.dumps({"run_id": "0", "tracking_uri": "x", "model_uri": None}))
    assert "no model of it: only students are logged as models" in refused([tmp_path, "--register", "parts"], capsys)


@pytest.mark.parametrize("alias", ["latest", "V12", "a b", "süß", ""])
def test_invalid_aliases_are_refused(alias, client):
    with pytest.raises(UsageError, match="--alias"):
        registry.require_valid_names("parts", alias)
