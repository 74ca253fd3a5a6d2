"""A command and its workers as processes: they stop together, save, and leave nothing running."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from pipelines import cli
from robustkd.training.checkpoint import load_checkpoint
from tests.pipelines.toys import find_study, study_arguments

HOME = Path(__file__).parents[2]
LIMIT = 600.0  # seconds for what takes a few on an idle machine
SLOW = """
import time
from robustkd.methods.baseline import Baseline

class Slow(Baseline):
    version = 1
    def objective(self, batch):
        time.sleep(0.2)
        return super().objective(batch)

METHODS = {"slow": Slow}
"""


@pytest.fixture
def arguments(data: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A study of minutes in two processes, saved after every epoch and logged to a store of its own."""
    (tmp_path / "slow.py").write_text(SLOW)
    shutil.copy(store / "empty.db", tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    options = {"methods": "slow,slow+balanced", "epochs": "500", "plug": str(tmp_path / "slow.py")}
    return study_arguments("run", data, jobs="2", tracker="mlflow", save_every="1s", **options)


@pytest.fixture
def command(arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
    """The study's command, once both runs are saved."""
    handler = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # what is ignored, as by a shell's &, is inherited
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines", *arguments],
        env={**os.environ, "PYTHONPATH": str(HOME), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    signal.signal(signal.SIGINT, handler)
    try:
        wait_until(lambda: len(list(Path("studies").glob("*/runs/*/unfinished.pt"))) == 2)
        assert process.poll() is None
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def count_living(group: int) -> int:
    """Return the number of living processes in a process group."""
    living = 0
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            living += os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    return living


def statuses() -> list[str]:
    """Return the statuses of all runs in MLflow."""
    client = MlflowClient()
    experiment = client.get_experiment_by_name("robustkd")
    assert experiment is not None
    return sorted(run.info.status for run in client.search_runs([experiment.experiment_id]))


def test_no_worker_outlives_a_killed_parent_and_the_next_command_closes_its_runs(
    command: subprocess.Popen[str], arguments: list[str]
) -> None:
    assert count_living(command.pid) >= 3
    command.kill()
    command.wait()
    wait_until(lambda: count_living(command.pid) == 0)
    assert "RUNNING" in statuses()
    with pytest.raises(SystemExit) as paused:
        cli.main([*arguments, "--stop-after", "1s"])
    assert paused.value.code == 0
    assert set(statuses()) == {"KILLED"}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_the_parent_alone_saves_and_ends_all(
    number: int, code: int, command: subprocess.Popen[str]
) -> None:
    command.send_signal(number)
    output, _ = command.communicate(timeout=LIMIT)
    assert command.returncode == code
    assert "robustkd: stopped; the same command continues from here\n" in output
    assert "Traceback" not in output
    wait_until(lambda: count_living(command.pid) == 0)
    states = [load_checkpoint(path) for path in find_study().glob("runs/*/unfinished.pt")]
    assert len(states) == 2
    cli.main(["sync", str(find_study())])  # on a slow machine, what is left was not sent in the seconds before the end
    assert set(statuses()) == {"KILLED"}


def test_a_second_ctrl_c_is_no_traceback(command: subprocess.Popen[str]) -> None:
    os.killpg(command.pid, signal.SIGINT)
    time.sleep(0.1)
    os.killpg(command.pid, signal.SIGINT)
    output, _ = command.communicate(timeout=LIMIT)
    assert command.returncode == 130
    assert "Traceback" not in output
    wait_until(lambda: count_living(command.pid) == 0)
