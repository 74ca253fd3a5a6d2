"""The page of a study."""

import pytest

from pipelines.report.renderers.latex import escape_latex, render_latex
from pipelines.report.renderers.markdown import escape_markdown, render_markdown
from pipelines.report.renderers.terminal import PAGE_WIDTH, render_text
from pipelines.report.summary import summarise_study
from pipelines.report.table import Table
from robustkd.study import comparison
from robustkd.study.conclusions import question_and_answer, verdict_rule
from tests.pipelines.report.golden.regenerate import golden_path
from tests.pipelines.report.toy_studies import (
    CLASSES,
    GOLDEN_STUDIES,
    METHODS,
    large_study,
    study_with_known_labels,
    study_with_labels_as_given,
    summarise_toy_study,
)


@pytest.mark.parametrize("name", GOLDEN_STUDIES)
def test_the_page_is_the_golden_one(name: str) -> None:
    assert render_text(summarise_toy_study(GOLDEN_STUDIES[name]())) == golden_path(name).read_text(encoding="utf-8")


def test_a_page_in_a_file_is_110_columns_wide_at_most() -> None:
    for study in (study_with_known_labels(), study_with_labels_as_given(), large_study()):
        grids = [part for part in summarise_toy_study(study) if isinstance(part, Table)]
        lines = render_text(grids).splitlines()
        assert max(map(len, lines)) <= PAGE_WIDTH
        assert "…" not in "".join(lines), "nothing is cut off"


def test_caveats_come_first_and_the_answer_last() -> None:
    parts = summarise_toy_study(study_with_labels_as_given())
    assert parts[0] == "test labels as given; the clean part is 7 of 80 rows with a clean label"
    assert parts[-2:] == [*question_and_answer(comparison.compare_runs(study_with_labels_as_given()))]
    assert parts[-1].startswith("No verdict, because there are too few seeds")
    assert "points of balanced accuracy on the labels as given, which may be wrong." in parts[-1]
    assert "on the labels as given, which may be wrong" in render_text(parts)
    assert "on the labels as given" not in render_text(
        summarise_study(comparison.compare_runs(study_with_labels_as_given(), True))
    )


def test_undefined_corruptions_are_reported() -> None:
    study = study_with_known_labels()
    runs = [study.results[0].model_copy(update={"corruptions": {}}), *study.results[1:]]
    text = " ".join(render_text(summarise_toy_study(study._replace(results=runs))).split())
    assert (
        "corrupted test images: not defined for images of this shape, only from 32x32 up, in grey or in colour" in text
    )
    assert "corrupted test images" not in render_text(summarise_toy_study(study_with_known_labels()))


def test_markdown_and_latex_have_the_content_of_the_terminal() -> None:
    compared = comparison.compare_runs(study_with_known_labels())
    parts = summarise_study(compared)
    for text, escape in ((render_markdown(parts), escape_markdown), (render_latex(parts), escape_latex)):
        for sentence in (*verdict_rule(compared), *question_and_answer(compared)):
            assert escape(sentence) in text
        for name in (*METHODS, *CLASSES):
            assert escape(name) in text
        assert "no difference shown" in text


def test_accuracy_during_training_names_the_number_of_rows() -> None:
    for rows, words in ((2000, "(test accuracy)"), (2001, "(test accuracy on 2,000 fixed test rows)")):
        study = study_with_known_labels()
        resolved = study.record.resolved.model_copy(update={"rows_test": rows})
        study = study._replace(record=study.record.model_copy(update={"resolved": resolved}))
        assert f"plain training along the run {words}: epoch 2" in " ".join(
            render_text(summarise_toy_study(study)).split()
        )
