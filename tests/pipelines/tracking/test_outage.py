"""A real server that is killed, restarted and frozen while a study is logged to it; and secrets, which are never written."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from tests.pipelines.conftest import MlflowServer
from tests.pipelines.toys import find_study, study_arguments

HOME = Path(__file__).parents[3]
AWAY, BACK = "MLflow does not answer", "MLflow answers again, and receives what was kept"
LIMIT = 900.0  # seconds for anything to happen; nothing is measured

# A method whose first step waits until a file exists, so that a study does not end before the test has done something.
WAITING = """
import pathlib, time
from robustkd.methods.baseline import Baseline

class Waiting(Baseline):
    def step(self, batch):
        while not pathlib.Path("go").exists():
            time.sleep(0.05)
        yield from super().step(batch)

METHODS = {"waiting": Waiting}
"""


class Command:
    """A command in a process of its own, and the lines that it prints."""

    def __init__(self, arguments: list[str], environment: Mapping[str, str]) -> None:
        code = "import sys; from pipelines.cli import main; main(sys.argv[1:])"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env={**os.environ, "PYTHONPATH": str(HOME), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as printed:
            self.lines.extend(iter(printed.readline, ""))

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def wait(self) -> int:
        code = self.process.wait(timeout=LIMIT)
        self.reader.join()
        return code


def wait_for(condition: Callable[[], object], command: Command) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert command.process.poll() is None, command.output
        assert time.monotonic() < deadline, command.output
        time.sleep(0.1)


@pytest.fixture
def run(data: Path, server: str) -> Iterator[Callable[..., Command]]:
    """A function that starts a study of plain training, and of `waiting` if that is asked for, logged to the server."""
    Path("waiting.py").write_text(WAITING)
    commands: list[Command] = []

    def start(methods: str, environment: Mapping[str, str] | None = None, **options: str) -> Command:
        words = {"tracker": "mlflow", "epochs": "4", "methods": methods, "plug": "waiting.py", **options}
        command = Command(study_arguments("run", data, **words), {"MLFLOW_TRACKING_URI": server, **(environment or {})})
        commands.append(command)
        return command

    yield start
    for command in commands:
        command.process.kill()
        command.process.wait()


def find_runs(server: str) -> dict[str, tuple[str, dict[str, list[tuple[int, float]]], int]]:
    """Return the child runs on a server by name: status, points of each metric by epoch, and number of models."""
    client = MlflowClient(server)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments, "tags.role LIKE '%'")
    assert len({run.info.run_name for run in runs}) == len(runs), "a run is there twice"
    found = {}
    for run in runs:
        points = {
            key: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, key)]
            for key in ("train/ce", "test/accuracy", "accuracy")
        }
        found[run.info.run_name] = (run.info.status, points, len(client.get_run(run.info.run_id).outputs.model_outputs))
    return found


def assert_complete(server: str, names: list[str]) -> None:
    """Every epoch of every run is on the server once, as its files say, and every student's network."""
    found = find_runs(server)
    assert sorted(found) == sorted(names)
    for name, (status, points, models) in found.items():
        epochs = pd.read_csv(find_study() / "runs" / name / "epochs.csv")
        assert status == "FINISHED"
        assert points["train/ce"] == list(zip(epochs["epoch"], epochs["ce"], strict=True))
        assert points["test/accuracy"] == list(zip(epochs["epoch"], epochs["accuracy"], strict=True))
        assert (len(points["accuracy"]), models) == (1, 1)
    assert not list(find_study().glob("outbox*"))


@pytest.fixture
def command(server: str, run: Callable[..., Command]) -> Command:
    """A study of two runs that the server has begun to receive; the second one waits for the file `go`."""
    started = run("baseline,waiting")
    wait_for(lambda: find_runs(server), started)
    return started


@pytest.mark.slow
def test_a_server_that_is_killed_and_restarted_misses_nothing(
    server: str, server_process: MlflowServer, command: Command
) -> None:
    server_process.signal(signal.SIGKILL)
    wait_for(lambda: AWAY in command.output, command)
    wait_for(lambda: "[1/2] baseline-seed0: accuracy" in command.output, command)  # while there is no server
    server_process.start()
    wait_for(lambda: BACK in command.output, command)
    Path("go").touch()
    assert command.wait() == 0, command.output
    assert [command.output.count(text) for text in (AWAY, BACK, "robustkd sync")] == [1, 1, 0]
    assert_complete(server, ["baseline-seed0", "waiting-seed0"])


@pytest.mark.slow
def test_a_frozen_server_stops_no_study_and_receives_everything_later(
    server: str, server_process: MlflowServer, command: Command
) -> None:
    server_process.signal(signal.SIGSTOP)
    Path("go").touch()
    assert command.wait() == 0, command.output  # while the server is frozen
    assert [command.output.count(text) for text in (AWAY, BACK)] == [1, 0]
    assert f"`robustkd sync {find_study()}` sends the rest" in command.output
    server_process.signal(signal.SIGCONT)
    sync = Command(["sync", str(find_study())], {"MLFLOW_TRACKING_URI": server})
    assert sync.wait() == 0, sync.output
    assert_complete(server, ["baseline-seed0", "waiting-seed0"])


@pytest.mark.slow
def test_no_secret_is_printed_or_stored(server: str, server_process: MlflowServer, run: Callable[..., Command]) -> None:
    planted = {
        "MLFLOW_TRACKING_URI": server.replace("http://", "http://me:plantedinuri@"),
        "MLFLOW_TRACKING_TOKEN": "plantedtoken",
        "MLFLOW_TRACKING_PASSWORD": "plantedpassword",
        "AWS_SECRET_ACCESS_KEY": "planted/aws+key",
    }
    Path("go").touch()
    done = run("baseline", planted)
    assert done.wait() == 0, done.output
    again = run("baseline,waiting", planted, seeds="2")
    wait_for(lambda: len(find_runs(server)) > 1, again)
    server_process.signal(signal.SIGKILL)
    assert again.wait() == 0, again.output
    assert AWAY in again.output
    refused = Command(["sync", str(find_study())], planted)
    assert refused.wait() == 2
    texts = [each.output for each in (done, again, refused)]
    files = [path for place in (find_study(), server_process.folder) for path in place.rglob("*") if path.is_file()]
    assert any(path.name == "outbox.jsonl" for path in files)
    texts += [path.read_bytes().decode("latin-1") for path in files]
    assert [text[:300] for text in texts if "planted" in text] == []
