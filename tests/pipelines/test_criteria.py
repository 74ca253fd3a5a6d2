"""Criteria in studies, as a user would call them: resumed runs, files that they read, the row of logit adjustment."""

from pathlib import Path

import pandas as pd
import pytest

from pipelines import cli
from robustkd.study.results import run_name
from tests.pipelines.toys import find_study, study_arguments

MATRIX = "0.8,0.1,0.1\n0.1,0.8,0.1\n0.1,0.1,0.8\n"


def trained_at(run: str) -> int:
    return (find_study() / "runs" / run / "model.pt").stat().st_mtime_ns


def test_a_changed_file_trains_the_runs_that_read_it_again(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = Path("audit") / "transition.csv"
    file.parent.mkdir()
    file.write_text(MATRIX)
    arguments = study_arguments("run", data, methods=f"baseline,baseline+forward(estimate={file})")
    plain, corrected = (run_name("student", text, 0) for text in ("baseline", f"baseline+forward(estimate={file})"))
    cli.main(arguments)
    before = {run: trained_at(run) for run in (plain, corrected)}
    cli.main(arguments)
    assert {run: trained_at(run) for run in (plain, corrected)} == before
    file.write_text(MATRIX.replace("0.8", "0.6").replace("0.1", "0.2"))
    cli.main(arguments)
    assert trained_at(plain) == before[plain]
    assert trained_at(corrected) > before[corrected]
    capsys.readouterr()
    file.unlink()
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.strip().startswith("robustkd: forward: there is no audit/transition.csv")
    cli.main(["compare", "studies"])
    assert "baseline+forward(estimate=audit/transition.csv)" in capsys.readouterr().out


def test_uneven_classes_add_a_row_of_adjusted_logits(data: Path) -> None:
    options = {"methods": "baseline,hinton+balanced,dml+elr", "scenario": "imbalance0.5", "held_out": "0"}
    cli.main(study_arguments("run", data, **options))
    rows = pd.read_csv(find_study() / "comparison" / "summary.csv", index_col="method").index
    adjusted = [row.removesuffix(", logit-adjusted") for row in rows if row.endswith(", logit-adjusted")]
    assert [row.split(" ")[0] for row in adjusted] == ["teacher", "baseline", "dml+elr"]
    assert "hinton+balanced" in rows
