"""One migrated store for every test that talks to MLflow: making its tables takes seconds."""

import pytest
from mlflow import MlflowClient

OURS = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID")


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """A folder with an empty store."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        surround(patch, folder)
        MlflowClient().search_experiments()
    return folder


def surround(patch, folder):
    """Make a folder the place of the store and of its artifacts, as it is for a user."""
    patch.chdir(folder)  # artifacts go to ./mlruns
    patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    for name in OURS:
        patch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def unreported(request, monkeypatch):
    """No report is drawn of the many small studies: two seconds each. What is about the report says so in its file's name."""
    if "report" not in request.module.__name__:
        monkeypatch.setattr("pipelines.report.write", lambda *_: None)
        monkeypatch.setattr("pipelines.report.write_sweep", lambda *_: None)
