"""The sections of a report."""

import json
from pathlib import Path

import pytest

from pipelines.report.examples import select_examples
from pipelines.report.sections.classes import build_class_section
from pipelines.report.sections.epochs import describe_progress
from pipelines.report.sections.metrics import build_metric_section
from pipelines.report.sections.provenance import build_provenance_section, format_command, study_facts
from pipelines.report.sections.recovered import build_recovered_section
from pipelines.report.sections.scenario import build_scenario_section
from pipelines.report.sections.verdicts import build_verdict_section
from pipelines.report.study_files import StudyFiles, read_study_files
from pipelines.report.study_report import write_study_report
from robustkd.evaluation.results import FitMetrics
from robustkd.study import comparison
from robustkd.study.results import RunResult, load_study
from tests.pipelines import synthetic
from tests.pipelines.report.cases import change_last, compare_changed, half_finished, not_started, without_fit
from tests.pipelines.report.html_document import read_html


@pytest.mark.usefixtures("without_png_files")
def test_unfinished_runs_are_reported(tmp_path: Path) -> None:
    assert ("students' runs", "5 of 9, not finished") in study_facts(half_finished())
    facts = dict(build_provenance_section(half_finished(), StudyFiles(None)).facts)
    assert facts["not finished"] == "hinton seed 2; dml seed 0; dml seed 1; dml seed 2"
    assert "No run is finished yet." in read_html(write_study_report(not_started(), tmp_path)).text


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("another set", "the data set is not the one that the study used"),
        ("no answers", "(fit-last.npz) are missing"),
        ("no data", "Images are left out: npz:"),
        ("broken manifest", "the study's manifests cannot be read"),
        ("no manifest", "the study's manifests are missing"),
    ],
)
def test_missing_or_damaged_files_are_reported_instead_of_images(damage: str, message: str, tmp_path: Path) -> None:
    folder = synthetic.study_folder(tmp_path, seed_count=1)
    document = json.loads((folder / "study.json").read_text())
    if damage == "another set":
        document["fingerprint"] = "f" * 16
    elif damage == "no data":
        document["options"]["dataset"] = f"npz:{tmp_path / 'without_files.npz'}"
    elif damage == "no answers":
        for path in folder.glob("runs/*/fit-last.npz"):
            path.unlink()
    elif damage == "broken manifest":
        (folder / "manifest-0.json").write_text("{")
    else:
        (folder / "manifest-0.json").unlink()
    (folder / "study.json").write_text(json.dumps(document))
    compared = comparison.compare(load_study(folder))
    files, examples = read_study_files(compared), select_examples(compared)
    scenario, recovered = build_scenario_section(compared, files), build_recovered_section(compared, examples)
    assert recovered is not None
    assert message in " ".join([*scenario.notes, *recovered.notes])


@pytest.mark.parametrize("known", [True, False])
def test_agreement_with_the_teacher_has_a_table_of_its_own(known: bool) -> None:
    compared = comparison.compare(synthetic.loaded_study()) if known else compare_changed(without_fit)
    tables = {
        table.title: [column.title for column in table.columns] for table in build_metric_section(compared).tables
    }
    assert ("against the truth" in tables) == known
    assert tables["agreement with the teacher"] == ["method", "on the test set", "seeds"]
    notes = [table.note for table in build_metric_section(compared).tables if table.title == "against the truth"]
    assert [note.startswith("Memorised: wrong training labels") for note in notes] == [True] * known


@pytest.mark.parametrize(("corrupted", "warned"), [(4, True), (0, False), (None, True)])
def test_label_noise_is_mentioned_where_there_may_be_any(corrupted: int | None, warned: bool) -> None:
    def change(result: RunResult) -> RunResult:
        metrics = None if corrupted is None else FitMetrics(known=9, corrupted=corrupted, foreign=0, metrics={})
        return result.model_copy(update={"fit": metrics})

    (line,) = describe_progress(compare_changed(change))
    assert line.startswith("Plain training: ")
    assert ("label noise" in line) == warned


@pytest.mark.parametrize(("seeds", "interval"), [(1, "-"), (2, "-"), (4, "-"), (5, "[0.0, 0.0]")])
def test_identical_results_of_few_seeds_have_no_interval(seeds: int, interval: str) -> None:
    def equalise(result: RunResult) -> RunResult:
        recall = {"cat": 1.0, "dog": 0.5 + result.run.seed / 10, "eel": 0.1}
        return change_last(result, recall=recall, metrics={**result.last.metrics, "balanced_accuracy": 0.5})

    compared = compare_changed(equalise, seed_count=seeds)
    section = build_class_section(compared, select_examples(compared), StudyFiles(None))
    assert section is not None
    rows = [[cell.text for cell in row.cells] for row in section.collapsed[0].rows]
    assert [(row[5], row[6]) for row in rows] == [("0.0", interval)] * 3
    verdicts = build_verdict_section(compared, trust=False)
    assert verdicts is not None
    assert verdicts.tables[0].rows[0].cells[2].text == interval
    if seeds == 1:
        assert rows[0][7] == "-"
        assert [cell.text for cell in verdicts.tables[0].rows[0].cells[4:6]] == ["-", "-"]
        assert "interval" not in section.pictures[0].caption


def test_the_command_has_the_options_that_differ_from_the_defaults() -> None:
    given = synthetic.study_record(("baseline",), 2, ("a",), data_dir="my data", augment=False).options
    assert format_command(given) == (
        "robustkd run --scenario noise0.4 --data-dir 'my data' --methods baseline --seeds 2 --no-augment"
    )


def test_mlflow_and_files_give_the_same_tables(tmp_path: Path) -> None:
    folder = synthetic.study_folder(tmp_path, seed_count=1)
    record = load_study(folder)
    with_files, without_files = comparison.compare(record), comparison.compare(record._replace(folder=None))
    assert build_metric_section(with_files) == build_metric_section(without_files)
    assert build_verdict_section(without_files, False).tables == build_verdict_section(with_files, False).tables  # type: ignore[union-attr]
    assert read_study_files(without_files).counts is None
    assert read_study_files(with_files).counts is not None
