"""The section on how a study was run."""

from pathlib import Path

import pytest

from pipelines.report.sections.provenance import build_provenance_section, format_command, study_facts
from pipelines.report.study_files import StudyFiles
from pipelines.report.study_report import write_study_report
from robustkd.study import comparison
from tests.pipelines import synthetic
from tests.pipelines.report.cases import compare_changed, half_finished, not_started, without_optional_parts
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
        "robustkd run --scenario noise0.4 --data-dir 'my data' --methods baseline --student wrn_10_2 --teacher wrn_16_2"
        " --seeds 2 --augment none"
    )


def test_facts_are_of_the_record_and_its_files() -> None:
    study = synthetic.loaded_study(seed_count=1, teacher="/home/me/nets/best.pt")
    record = study.record.model_copy(update={"skipped": ["a.png", "b.png"]})
    compared = comparison.compare_runs(study._replace(record=record))
    facts = dict(build_provenance_section(compared, StudyFiles(None, digests={"0": "abc"})).facts)
    assert facts["seeds"] == "0"
    assert facts["draw of seed 0"] == "digest abc"
    assert facts["trained"] == "2023-11-14 22:13 UTC to 2023-11-14 22:13 UTC, 9 s of training in all"
    assert facts["read from"] == "MLflow"
    assert facts["left out"] == "2 files that cannot be read"
    assert "not finished" not in facts
    assert ("teacher", "best.pt") in study_facts(compared), "without its folder"


def test_hyperparameters_are_listed_once_per_method() -> None:
    options, hyperparameters = build_provenance_section(synthetic.compared_study(), StudyFiles(None)).collapsed
    values = {row.cells[0].text: row.cells[1].text for row in options.rows}
    assert (values["scenario"], values["seeds"]) == ("noise0.4", "2")
    rows = [[cell.text for cell in row.cells] for row in hyperparameters.rows]
    assert rows == [[method, "x.y", "1"] for method in ("baseline+ce", "baseline", "hinton")]
    unknown = build_provenance_section(compare_changed(without_optional_parts), StudyFiles(None))
    assert [table.title for table in unknown.collapsed] == ["all options"]
    assert "trained" not in dict(unknown.facts)
