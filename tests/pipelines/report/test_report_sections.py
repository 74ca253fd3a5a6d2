"""Several sections of one report."""

from pathlib import Path

from pipelines.report.sections.metrics import build_metric_section
from pipelines.report.sections.verdicts import build_verdict_section
from pipelines.report.study_files import read_study_files
from robustkd.study import comparison
from robustkd.study.results import read_study
from tests.pipelines import synthetic


def test_mlflow_and_files_give_the_same_tables(tmp_path: Path) -> None:
    folder = synthetic.study_folder(tmp_path, seed_count=1)
    record = read_study(folder)
    with_files, without_files = comparison.compare_runs(record), comparison.compare_runs(record._replace(folder=None))
    assert build_metric_section(with_files) == build_metric_section(without_files)
    assert build_verdict_section(without_files).tables == build_verdict_section(with_files).tables  # type: ignore[union-attr]
    assert read_study_files(without_files).counts is None
    assert read_study_files(with_files).counts is not None
