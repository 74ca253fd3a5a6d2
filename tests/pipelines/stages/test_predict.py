"""The predict command: class probabilities of the images of a folder, as CSV."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipelines import cli
from tests.pipelines.toys import find_study, study_arguments


def test_a_folder_is_classified_into_a_csv(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(study_arguments("run", data, methods="baseline", epochs="6", scenario="clean"))
    content = np.load(data)
    Path("new").mkdir()
    for number in range(6):
        Image.fromarray(content["X"][number]).save(f"new/{number}.png")
    model = str(find_study() / "runs" / "baseline-seed0" / "model.pt")
    capsys.readouterr()
    cli.main(["predict", model, "folder:new", "--to", "answers.csv"])
    answers = pd.read_csv("answers.csv")
    assert answers.columns.tolist() == ["file", "predicted", "probability", "p(rows)", "p(columns)", "p(checks)"]
    assert answers["predicted"].tolist() == ["rows", "columns", "checks"] * 2
    assert answers[["p(rows)", "p(columns)", "p(checks)"]].sum(axis=1).to_numpy() == pytest.approx(np.ones(6), abs=1e-3)
    with pytest.raises(SystemExit):
        cli.main(["predict", model, "folder:new", "--to", "answers.csv"])
    assert "exists already" in capsys.readouterr().err
