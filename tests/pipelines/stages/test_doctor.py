"""doctor: one screen without secrets, for people and machines, that works with a broken torch too."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import cli

HOME = Path(__file__).parents[3]
SECTIONS = ["versions", "machine", "memory", "caches", "tracking", "studies", "problems"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def test_a_machine_without_problems_is_described_and_nothing_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["doctor", "--json"])
    content = json.loads(capsys.readouterr().out)
    assert list(content) == SECTIONS
    assert content["problems"] == []
    assert {"robustkd", "Python", "torch", "mlflow"} <= content["versions"].keys()
    assert {"processor", "cores", "GPUs", "device", "precision"} <= content["machine"].keys()
    cli.main(["doctor"])
    printed = capsys.readouterr().out
    assert "no problem was found" in printed
    lasting = ("versions", "machine", "tracking")  # free memory and disk change from one call to the next
    assert all(fact.split()[0] in printed for title in lasting for fact in content[title].values())
    assert all(name in printed for title in SECTIONS[:-1] for name in content[title])
    assert list(folder.iterdir()) == []


def test_problems_are_counted_as_failure_and_secrets_are_not_printed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:hunter22@127.0.0.1:1/api?token=squirrel9")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter22")
    monkeypatch.setenv("HF_TOKEN", "hf_squirrel")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "named hf_squirrel by mistake")
    for flags in ([], ["--json"]):
        with pytest.raises(SystemExit) as exit_:
            cli.main(["doctor", *flags])
        assert exit_.value.code == 1
        printed = capsys.readouterr()
        assert "MLflow's store http://127.0.0.1:1/api cannot be used" in printed.out
        assert "named *** by mistake" in printed.out
        assert not any(secret in printed.out + printed.err for secret in ("hunter22", "squirrel", "ada:"))


def test_a_torch_that_cannot_be_imported_is_a_problem_and_no_traceback(folder: Path) -> None:
    (folder / "torch").mkdir()
    (folder / "torch" / "__init__.py").write_text("raise ImportError('libcudnn.so.9: cannot open shared object file')")
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{HOME}"}
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", "doctor"], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "problem: torch cannot be imported (ImportError: libcudnn.so.9" in done.stdout
    assert done.stderr == ""
