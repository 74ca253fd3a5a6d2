"""The page of a selection: its tables, its answer and its HTML report."""

from pathlib import Path

from pipelines.report.renderers.terminal import render_text
from pipelines.report.selection_page import answer_selection, question_of, selection_page, write_selection_files
from tests.selection.test_record import make_selection


def test_the_page_says_who_was_dropped_when_and_why() -> None:
    text = render_text(selection_page(make_selection(), None))
    assert "rung 1: 50% of the epochs, 1 seed, held-out rows" in text
    assert "dropped: no place is left" in text
    assert text.count("finalist") >= 2


def test_the_screening_is_a_table_of_its_own_and_leaves_the_finalists() -> None:
    record = make_selection()
    screened = record.model_copy(update={"screening": [record.rungs[0].model_copy(update={"places": 1})]})
    text = render_text(selection_page(screened, None))
    assert "screening, 1 seed, test set" in text
    before, after = text.split("screening, 1 seed")
    assert "finalist" not in before, "the race leaves contenders, and the screening finalists"
    assert after.split("finalists on fresh seeds")[0].count("finalist") == 2
    assert "over the 2 that were screened and the looks at 5 seeds" in " ".join(text.split())
    assert "no decision of it depends on test images" in text


def test_the_answer_names_the_winner_or_the_gain_that_none_exceeds() -> None:
    record = make_selection()
    won = answer_selection(record.model_copy(update={"winner": "a"}))
    assert won.startswith("a: +3.0 points over plain training, +2.0 points over plain training stopped early")
    assert "at least +1.0 points over both" in won
    assert "10% of the grid of all contenders with 5 seeds" in won
    none = answer_selection(record.model_copy(update={"largest_gain": 0.034}))
    assert "none of 2 finalists gains more than 3.4 points over both" in none
    assert question_of(record) == "Which of 3 methods beats plain training on toy under clean?"


def test_an_unfinished_selection_claims_nothing() -> None:
    record = make_selection()
    assert answer_selection(record.model_copy(update={"looks": []})) == "No method is confirmed yet."
    assert answer_selection(record.model_copy(update={"looks": [], "rungs": []})) == "Nothing is finished yet."


def test_the_report_is_one_file_with_both_parts(tmp_path: Path) -> None:
    write_selection_files(make_selection(), None, tmp_path)
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert 'id="race"' in report
    assert 'id="final"' in report
    assert (tmp_path / "selection.txt").read_text(encoding="utf-8")
