"""The section on recall class by class."""

import pandas as pd
import pytest

from pipelines.report.examples import Examples, select_examples
from pipelines.report.pooling import mean_recall
from pipelines.report.sections.classes import build_class_section
from pipelines.report.study_files import StudyFiles
from robustkd.study.results import RunResult
from tests.pipelines import synthetic
from tests.pipelines.report.cases import HUNDRED_CLASSES, change_last, compare_changed, not_started


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
    if seeds == 1:
        assert rows[0][7] == "-"
        assert "interval" not in section.pictures[0].caption


def test_of_many_classes_the_best_and_the_worst_method_have_charts() -> None:
    compared = synthetic.compared_study(("baseline", "hinton", "dml", "at"), 2, HUNDRED_CLASSES, 400)
    section = build_class_section(compared, Examples("baseline", "hinton", ["hinton", "dml", "at"]), StudyFiles(None))
    assert section is not None
    assert [picture.title for picture in section.pictures] == ["hinton", "at", "Every method on every class"]
    assert section.notes[0].startswith("Shown one by one: the best and the worst. ")
    assert section.notes[0].endswith(" classes.csv has all of them, with their intervals.")
    assert len(section.collapsed[0].rows) == 2 * 100


def test_of_few_classes_every_example_has_a_chart() -> None:
    compared = synthetic.compared_study(("baseline", "hinton", "at"), 2)
    examples = select_examples(compared)
    section = build_class_section(compared, examples, StudyFiles(None, missing="no files"))
    assert section is not None
    assert [picture.title for picture in section.pictures] == [*examples.methods, "Every method on every class"]
    assert section.notes[0].startswith("Shown one by one: all methods. ")
    assert section.notes[1] == "Class sizes against recall are left out: no files."
    above = compared.classes.query("method == 'hinton' and difference > 0")
    assert f"Against baseline; above it on {len(above)} of 3 classes." in section.pictures[0].caption


def test_class_sizes_are_described_at_both_ends() -> None:
    compared = synthetic.compared_study()
    counts = pd.Series({"cat": 5.0, "dog": 90.0, "eel": 20.0})
    section = build_class_section(compared, Examples("baseline", "hinton", ["hinton"]), StudyFiles(None, counts))
    assert section is not None
    (picture,) = (each for each in section.pictures if each.name == "sizes")
    recall = mean_recall(compared, "hinton")
    expected = f"hinton: {100 * recall['dog']:.1f} % on dog (90 images), {100 * recall['cat']:.1f} % on cat (5)"
    assert expected in picture.alt
    assert picture.caption == "Rings: baseline; discs: hinton."


def test_without_results_there_is_no_section() -> None:
    assert build_class_section(not_started(), Examples(None, None), StudyFiles(None)) is None
