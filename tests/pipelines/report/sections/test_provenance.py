"""The section on how a study was run."""

from pathlib import Path

import pytest

from pipelines.report.sections.provenance import build_provenance_section, format_command, study_facts
from pipelines.report.study_files import StudyFiles
from pipelines.report.study_report import write_study_report
from tests.pipelines import synthetic
from tests.pipelines.report.cases import half_finished, not_started
from tests.pipelines.report.html_document import read_html


@pytest.mark.usefixtures("without_png_files")
def test_unfinished_runs_are_reported(tmp_path: Path) -> None:
    assert ("students' runs", "5 of 9, not finished") in study_facts(half_finished())
    facts = dict(build_provenance_section(half_finished(), StudyFiles(None)).facts)
    assert facts["not finished"] == "hinton seed 2; dml seed 0; dml seed 1; dml seed 2"
    assert "No run is finished yet." in read_html(write_study_report(not_started(), tmp_path)).text


def test_the_command_has_the_options_that_differ_from_the_defaults() -> None:
    given = synthetic.study_record(("baseline",), 2, ("a",), data_dir="my data", augment=False).options
    assert format_command(given) == (
        "robustkd run --scenario noise0.4 --data-dir 'my data' --methods baseline --seeds 2 --no-augment"
    )
