"""One MLflow store for all tests, because creating its tables takes seconds, and a tracking server."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from mlflow import MlflowClient

from tests.pipelines.toys import stripes

MLFLOW_VARIABLES = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID")


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """A folder with an MLflow store."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        use_store(patch, folder)
        MlflowClient().search_experiments()
    shutil.copy(folder / "mlflow.db", folder / "empty.db")  # before any test writes to it
    return folder


def use_store(patch, folder):
    """Use the store of a folder, which also becomes the working directory, because artifacts are written to ./mlruns."""
    patch.chdir(folder)
    patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    for name in MLFLOW_VARIABLES:
        patch.delenv(name, raising=False)


@pytest.fixture
def server(tmp_path, store, monkeypatch):
    """An `mlflow server` with its own database that also serves artifacts."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    shutil.copy(store / "empty.db", tmp_path / "server.db")  # with its tables
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path}/server.db"]
    command += ["--artifacts-destination", str(tmp_path / "served")]
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with open(tmp_path / "server.log", "w") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            for _ in range(300):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                    break
                except OSError:
                    assert process.poll() is None, (tmp_path / "server.log").read_text()
                    time.sleep(0.2)
            monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, 15)
            process.wait(timeout=30)


@pytest.fixture(autouse=True)
def skip_reports(request, monkeypatch):
    """Skip reports, which take two seconds each, except in modules with `report` in their names."""
    if "report" not in request.module.__name__:
        monkeypatch.setattr("pipelines.report.study_report.write_study_report", lambda *_: None)
        monkeypatch.setattr("pipelines.report.sweep_report.write_sweep_report", lambda *_: None)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """The file of a small data set; the working directory is a new folder next to it."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return stripes(tmp_path / "toy.npz")
