"""Tables per class."""

import re

from pipelines.report.class_tables import select_class_columns
from pipelines.report.metric_tables import performance_table
from pipelines.report.renderers.terminal import render_text
from pipelines.report.summary import summarise_study
from pipelines.report.table import Table
from robustkd.study import comparison
from tests.pipelines.report.toy_studies import (
    CLASSES,
    large_study,
    make_toy_record,
    study_with_known_labels,
    study_with_labels_as_given,
    summarise_toy_study,
)


def test_of_many_methods_and_classes_the_page_names_those_it_shows() -> None:
    compared = comparison.compare_runs(large_study())
    text = " ".join(render_text(summarise_study(compared)).split())
    assert (
        "Shown: the 6 of 30 methods with the highest balanced accuracy; the 40 of 100 classes in which they differ most"
        in text
    )
    _, columns, classes, _ = select_class_columns(compared)
    assert [column.endswith(" - baseline") for column in columns] == [False] + [True] * 6
    assert classes == [f"class {n}" for n in range(10, 50)], "those that differ most, in their own order"
    assert compared.per_class.shape == (100, 31)


def test_recalls_of_a_class_without_test_rows_are_dashes() -> None:
    compared = comparison.compare_runs(study_with_labels_as_given())
    (grid,) = (
        part for part in summarise_study(compared) if isinstance(part, Table) and part.title.startswith("recall")
    )
    assert [cell.text for cell in grid.rows[1].cells] == [CLASSES[1], "-", "-"]
    overall = performance_table(comparison.compare_runs(study_with_known_labels()))
    assert overall is not None
    assert "worst three" not in [column.title for column in overall.columns], (
        "of three classes that is the balanced accuracy"
    )


def test_without_a_baseline_recalls_are_shown() -> None:
    text = render_text(
        summarise_toy_study(study_with_known_labels()._replace(record=make_toy_record(["hinton", "dml"])))
    )
    assert re.search(r"class +hinton recall +dml recall", text)
    assert "There is nothing to compare" in text
