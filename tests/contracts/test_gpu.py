"""Every method on a GPU, from the command line. The file needs no MLflow, which machines with a GPU may lack."""

from pathlib import Path

import numpy as np
import pytest

from pipelines import cli
from robustkd.methods import METHODS
from robustkd.study.results import RunResult, read_document
from tests.pipelines.toys import find_study, stripes, study_arguments


@pytest.mark.gpu
def test_every_method_runs_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = stripes(tmp_path / "toy.npz")
    with np.load(data) as file:
        np.savez(data, **{**dict(file), "clean": file["y"]})  # for the methods that need true labels
    cli.main(study_arguments("run", data, device="cuda", methods="all", epochs="4"))
    results = [read_document(file, RunResult) for file in find_study().glob("runs/*/result.json")]
    assert {result.run.method for result in results if result.run.role == "student"} == set(METHODS)
    for result in results:
        assert result.training is not None
        assert result.training.device == "cuda"
        assert np.isfinite(result.last.metrics["accuracy"])
