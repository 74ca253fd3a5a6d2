"""The examples run as a user would run them, each in an empty folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parents[1]
# What each writes and prints, by its name.
RESULTS = {
    "noisy_folder": (["predictions.csv", "student/model.pt2", "student/card.json"], "of the training labels are wrong"),
    "own_method": (["studies"], "margins(weight=0.2)"),
    "read_back": (["accuracy.png", "mlflow.db"], "metrics.balanced_accuracy"),
}


def test_every_example_is_run() -> None:
    assert {path.stem for path in (HOME / "examples").glob("*.py")} == RESULTS.keys()


@pytest.mark.parametrize("name", RESULTS)
def test_an_example_runs_as_written(name: str, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(HOME),
        "OMP_NUM_THREADS": "1",
        "ROBUSTKD_CACHE": str(tmp_path / "cache"),
    }
    environment.pop("MLFLOW_TRACKING_URI", None)
    script = HOME / "examples" / f"{name}.py"
    done = subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    files, text = RESULTS[name]
    assert [file for file in files if not (tmp_path / file).exists()] == []
    assert text in done.stdout
