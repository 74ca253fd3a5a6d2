"""One MLflow store for all tests, because creating its tables takes seconds, and a tracking server."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from mlflow import MlflowClient

from pipelines.console import console
from pipelines.stages.sync import print_report
from pipelines.tracking.outbox import Outbox
from pipelines.tracking.run_logger import RunLogger
from pipelines.tracking.sender import EntrySender, send_outbox
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


class MlflowServer:
    """An `mlflow server` with its own database in a folder, that also serves artifacts; it can be killed and frozen."""

    def __init__(self, folder):
        self.folder, self.process = folder, None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self):
        """Start it, and wait until it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self.folder}/server.db"]
        command += ["--artifacts-destination", str(self.folder / "served")]
        with open(self.folder / "server.log", "a") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=1).close()
                return
            except OSError:
                assert self.process.poll() is None, (self.folder / "server.log").read_text()
                time.sleep(0.2)
        raise AssertionError((self.folder / "server.log").read_text())

    def signal(self, number):
        """Send a signal to all of its processes; wait until they have ended if that is what it does."""
        os.killpg(self.process.pid, number)
        if number in (signal.SIGTERM, signal.SIGKILL):
            self.process.wait(timeout=30)
            self.process = None


@pytest.fixture
def server_process(tmp_path, store):
    """A server that a test starts, kills and freezes."""
    shutil.copy(store / "empty.db", tmp_path / "server.db")  # with its tables
    server = MlflowServer(tmp_path)
    yield server
    if server.process is not None:
        server.signal(signal.SIGCONT)
        server.signal(signal.SIGKILL)


@pytest.fixture
def server(server_process, monkeypatch):
    """A server that the environment names."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    server_process.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server_process.uri)
    return server_process.uri


class InlineSender:
    """Sends an outbox in this process: when it is asked to, and when it is closed. It gives up at once."""

    def __init__(self, outbox: Outbox):
        self.outbox = outbox
        self.logger = RunLogger(outbox.folder, outbox.load_sent(), console.print)

    def is_alive(self):
        return True

    def send(self):
        """Send what is in the outbox, and nothing else; return the name of the MLflow runs that are open."""
        EntrySender(self.outbox, self.logger, print_report, lambda seconds: False, patience=0).send_all()
        return {name: run["id"] for name, run in self.logger.sent.runs.items()}

    def close(self, *_):
        send_outbox(self.outbox.folder, print_report, lambda seconds: False, patience=0)


@pytest.fixture(autouse=True, scope="session")
def send_inline():
    """Commands that tests call send to MLflow in the process of the test, which may replace parts of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.tracking.tracker.SenderProcess", InlineSender)
        yield


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
