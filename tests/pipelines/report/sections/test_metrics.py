"""The section with all metrics."""

import pytest

from pipelines.report.sections.metrics import build_metric_section
from robustkd.study import comparison
from tests.pipelines import synthetic
from tests.pipelines.report.cases import compare_changed, not_started, without_fit


@pytest.mark.parametrize("known", [True, False])
def test_agreement_with_the_teacher_has_a_table_of_its_own(known: bool) -> None:
    compared = comparison.compare_runs(synthetic.loaded_study()) if known else compare_changed(without_fit)
    tables = {
        table.title: [column.title for column in table.columns] for table in build_metric_section(compared).tables
    }
    assert ("against the truth" in tables) == known
    assert tables["agreement with the teacher"] == ["method", "on the test set", "seeds"]
    notes = [table.note for table in build_metric_section(compared).tables if table.title == "against the truth"]
    assert [note.startswith("Memorised: wrong training labels") for note in notes] == [True] * known


def test_a_study_without_runs_has_a_note_alone() -> None:
    section = build_metric_section(not_started())
    assert (section.lead, section.tables, section.notes) == ("", [], ["No run is finished yet."])
