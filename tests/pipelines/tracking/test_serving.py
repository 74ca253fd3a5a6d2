"""Requests to a logged student behind `mlflow models serve`."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines import cli
from robustkd.data import sources
from robustkd.training import checkpoint
from tests.pipelines.conftest import use_store

WAIT = 180.0  # seconds that a server has to start

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def student(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The run's folder of a student of two epochs on digits, tracked in an SQLite store, registered as digits@candidate."""
    folder = tmp_path_factory.mktemp("serving")
    shutil.copy(store / "mlflow.db", folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        use_store(patch, folder)
        small = ["--student", "resnet8", "--teacher", "resnet8", "--jobs", "1", "--threads", "1"]
        cli.main(["run", "--scenario", "clean", "--methods", "hinton", "--seeds", "1", "--epochs", "2", *small])
        (found,) = Path("studies").iterdir()
        cli.main(["export", str(found), "--method", "hinton", "--register", "digits", "--alias", "candidate"])
        yield folder / found / "runs" / "hinton-seed0"


@contextmanager
def serve_model(model: str, folder: Path) -> Iterator[str]:
    """`mlflow models serve` at a free port, until the end, whatever that is."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "--env-manager",
        "local",
        "-m",
        model,
        "-p",
        str(port),
    ]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # where MLflow looks for uvicorn
    place = f"http://127.0.0.1:{port}"
    with open(folder / "serve.log", "w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, "PATH": path}, stdout=log, stderr=log, start_new_session=True
        )
        try:
            deadline = time.monotonic() + WAIT
            while not is_reachable(f"{place}/ping"):
                log = (folder / "serve.log").read_text()
                assert process.poll() is None, log
                assert time.monotonic() < deadline, log
                time.sleep(0.3)
            yield place
        finally:
            for how in (signal.SIGTERM, signal.SIGKILL):  # the server proper is a child of the command
                try:
                    os.killpg(process.pid, how)
                    process.wait(timeout=20)
                except (ProcessLookupError, subprocess.TimeoutExpired):
                    continue


def is_reachable(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=2).close()
    except OSError:
        return False
    return True


def request_predictions(place: str, images: object) -> np.ndarray:
    body = json.dumps({"inputs": images}).encode()
    request = urllib.request.Request(f"{place}/invocations", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return np.array(json.load(answer)["predictions"])


@pytest.mark.parametrize("name", ["models:/digits@candidate", "runs:/RUN/model"])
def test_a_served_student_predicts_as_its_network_does(student: Path, name: str) -> None:
    run = json.loads((student / "tracked.json").read_text())["run_id"]
    serving_model = checkpoint.ServingModel(checkpoint.load_net(student / "model.pt")[0], (1, 8, 8))
    images = np.asarray(sources.load_dataset("digits").images).transpose(0, 2, 3, 1)
    with serve_model(name.replace("RUN", run), student.parents[3]) as place:
        for n in (1, 3):
            given = request_predictions(place, images[:n].tolist())
            with torch.no_grad():
                expected = serving_model(torch.from_numpy(images[:n].copy())).numpy()
            assert given.shape == (n, 10)
            np.testing.assert_allclose(given, expected, atol=1e-4)
        assert np.ptp(given, axis=0).max() > 0.01, "constant predictions would prove nothing"
        for wrong in (np.full((1, 8, 8, 1), 256), np.zeros((1, 9, 8, 1), int), np.zeros((8, 8, 1), int)):
            with pytest.raises(urllib.error.HTTPError) as refused:
                request_predictions(place, wrong.tolist())
            assert refused.value.code == 400
            refused.value.close()
    assert not is_reachable(f"{place}/ping"), "the server was stopped"
