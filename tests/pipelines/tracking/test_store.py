"""MLflow's store: opened once by several processes, or refused in one sentence without delay."""

import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from pipelines import tracking
from pipelines.tracking import store as store_
from robustkd.errors import UsageError
from tests.pipelines.conftest import use_store

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def in_store(store, monkeypatch):
    use_store(monkeypatch, store)


@pytest.mark.slow
def test_a_new_store_can_be_opened_by_several_processes_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'new.db'}")
    command = [sys.executable, "-c", "from pipelines import tracking; tracking.open_tracker('mlflow', None)"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    for process in [subprocess.Popen(command, cwd=ROOT, **pipes) for _ in range(3)]:
        assert process.communicate(timeout=120)[0] == ""
        assert process.returncode == 0


class StatusHandler(BaseHTTPRequestHandler):
    code = 200

    def do_GET(self):
        self.send_response(self.code)
        self.end_headers()

    def log_message(self, *_): ...


@pytest.fixture
def serve_status():
    """A function that starts a server with one status for every request."""
    servers = []

    def serve(code):
        server = HTTPServer(("127.0.0.1", 0), type("Coded", (StatusHandler,), {"code": code}))
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return f"http://user:secret@127.0.0.1:{server.server_port}/"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("code", [200, 401, 404])
def test_a_server_that_answers_is_accepted(serve_status, code):
    store_._require_responsive_server(serve_status(code))


def test_a_broken_server_is_refused_without_revealing_the_password(serve_status, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", serve_status(503))
    with pytest.raises(
        UsageError, match=r"no MLflow server answers at http://127.0.0.1:\d+, .*HTTP 503.*tracker files"
    ) as error:
        tracking.open_tracker("mlflow", None)
    assert "secret" not in str(error.value)


def test_a_missing_server_is_refused_at_once(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    start = time.monotonic()
    with pytest.raises(UsageError, match=f"no MLflow server answers at http://127.0.0.1:{port}, .*refused"):
        tracking.open_tracker("mlflow", None)
    with pytest.raises(UsageError, match="no MLflow server"):
        tracking.download_network("0" * 32)
    assert time.monotonic() - start < 2


def test_a_silent_server_is_refused_after_the_timeout(monkeypatch):
    assert store_.SERVER_TIMEOUT <= 5
    monkeypatch.setattr(store_, "SERVER_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{mute.getsockname()[1]}")
        start = time.monotonic()
        with pytest.raises(UsageError, match="timed out"):
            tracking.open_tracker("mlflow", None)
    assert time.monotonic() - start < 1


def test_a_store_that_cannot_be_written_is_refused_at_once(monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/not there/mlflow.db")
    with pytest.raises(UsageError, match=r"cannot write its store .*mlflow.db; `--tracker files`"):
        tracking.open_tracker("mlflow", None)


def test_a_store_of_an_unknown_kind_is_refused(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://user:secret@host/x")
    with pytest.raises(UsageError, match=r"cannot open its store nonsense://host/x .*`--tracker files`"):
        tracking.open_tracker("mlflow", None)


def test_without_mlflow_plain_files_are_recommended(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(UsageError, match=r"MLflow cannot be imported .*`--tracker files`"):
        tracking.open_tracker("mlflow", None)


def test_a_store_is_looked_at_without_creating_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert store_.explain_unusable_store("") is None
    assert store_.explain_unusable_store(f"sqlite:///{tmp_path / 'new.db'}") is None
    assert list(tmp_path.iterdir()) == []
    assert "cannot be written" in store_.explain_unusable_store(f"sqlite:///{tmp_path / 'lost' / 'new.db'}")
    (tmp_path / "mlflow.db").write_text("notes of the user's")
    assert "is not an SQLite database" in store_.explain_unusable_store("")
    assert store_.explain_unusable_store("file:///nowhere") is None, "nothing is known of it"


def test_a_store_with_tables_can_be_used(store):
    assert store_.explain_unusable_store(f"sqlite:///{store / 'mlflow.db'}") is None


def test_a_database_server_is_asked_for_a_connection_and_its_password_is_not_printed():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        uri = f"postgresql+psycopg2://ada:hunter22@127.0.0.1:{port}/runs"
        assert store_.explain_unusable_store(uri) is None
    reason = store_.explain_unusable_store(uri)
    assert "refused" in reason
    assert "hunter22" not in reason
