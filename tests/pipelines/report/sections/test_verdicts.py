"""The section on differences in the headline metric."""

import pytest

from pipelines.report.sections.verdicts import build_verdict_section
from robustkd.study import comparison
from robustkd.study.comparison import Comparison
from robustkd.study.results import RunResult
from tests.pipelines import synthetic
from tests.pipelines.report.cases import change_last, compare_changed


@pytest.mark.parametrize(("seeds", "interval"), [(1, "-"), (2, "-"), (4, "-"), (5, "[0.0, 0.0]")])
def test_identical_results_of_few_seeds_have_no_interval(seeds: int, interval: str) -> None:
    def equalise(result: RunResult) -> RunResult:
        recall = {"cat": 1.0, "dog": 0.5 + result.run.seed / 10, "eel": 0.1}
        return change_last(result, recall=recall, metrics={**result.last.metrics, "balanced_accuracy": 0.5})

    compared = compare_changed(equalise, seed_count=seeds)
    verdicts = build_verdict_section(compared)
    assert verdicts is not None
    assert verdicts.tables[0].rows[0].cells[2].text == interval
    if seeds == 1:
        assert [cell.text for cell in verdicts.tables[0].rows[0].cells[4:6]] == ["-", "-"]


def test_pairs_are_in_the_note_or_in_a_column() -> None:
    even = build_verdict_section(synthetic.compared_study())
    uneven = build_verdict_section(
        compare_unevenly(),
    )
    assert even is not None
    assert uneven is not None
    assert even.tables[0].note.endswith(", paired seed by seed: 2 pairs each.")
    assert "pairs" not in [column.key for column in even.tables[0].columns]
    assert uneven.tables[0].note.endswith(", paired seed by seed.")
    place = [column.key for column in uneven.tables[0].columns].index("pairs")
    assert {row.cells[0].text: row.cells[place].text for row in uneven.tables[0].rows} == {"hinton": "2", "at": "3"}


def compare_unevenly() -> Comparison:
    """Compare a study in which one method lacks a seed."""
    study = synthetic.loaded_study(("baseline", "hinton", "at"), 3)
    results = [result for result in study.results if (result.run.method, result.run.seed) != ("hinton", 2)]
    return comparison.compare_runs(study._replace(results=results))


def test_the_reference_has_a_column_where_there_are_several() -> None:
    methods = ("baseline", "hinton", "baseline+balanced", "hinton+balanced")
    several = build_verdict_section(synthetic.compared_study(methods, 2))
    one = build_verdict_section(synthetic.compared_study(("baseline", "hinton"), 2))
    assert several is not None
    assert one is not None
    assert "reference" in [column.key for column in several.tables[0].columns]
    assert "reference" not in [column.key for column in one.tables[0].columns]
    assert "Dashed line" not in several.pictures[0].caption, "it would be another line for each reference"
    assert one.pictures[0].caption.endswith(" Dashed line: the baseline, stopped early.")


def test_the_picture_describes_the_largest_difference_first() -> None:
    compared = synthetic.compared_study(("baseline", "at", "hinton"), 5)
    section = build_verdict_section(compared)
    assert section is not None
    (picture,) = section.pictures
    assert "with 95 % intervals: hinton +" in picture.alt
    assert picture.alt.endswith(", worse.")
    assert section.side_by_side


def test_without_a_reference_there_is_no_section() -> None:
    assert build_verdict_section(synthetic.compared_study(("hinton", "dml"), 2)) is None
