"""The section on recall class by class."""

import pytest

from pipelines.report.examples import select_examples
from pipelines.report.sections.classes import build_class_section
from pipelines.report.sections.verdicts import build_verdict_section
from pipelines.report.study_files import StudyFiles
from robustkd.study.results import RunResult
from tests.pipelines.report.cases import change_last, compare_changed


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
