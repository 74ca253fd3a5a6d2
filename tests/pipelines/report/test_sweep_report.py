"""The HTML report of several studies."""

import re
from pathlib import Path

import pytest

from pipelines.report.sweep_report import write_sweep_report
from robustkd.study.across import compare_studies
from robustkd.study.pairing import HEADLINE
from tests.pipelines import synthetic
from tests.pipelines.report.cases import labels_as_given, not_started
from tests.pipelines.report.html_document import read_html


@pytest.mark.usefixtures("without_png_files")
def test_a_sweep_compares_studies(tmp_path: Path) -> None:
    near = synthetic.compared_study(("baseline", "hinton", "at"), 5, scenario="noise0.2")
    far = synthetic.compared_study(("baseline", "hinton"), 5, rows=90)
    study_folder = tmp_path / "study #1"
    (study_folder / "comparison").mkdir(parents=True)
    (study_folder / "comparison" / "report.html").touch()
    out = tmp_path / "sweep"
    path = write_sweep_report(
        [near._replace(folder=study_folder), far._replace(folder=tmp_path / "gone"), labels_as_given()], out
    )
    document = read_html(path)
    table = document.table("method|noise0.2")
    ranks = compare_studies([near], HEADLINE).ranks["rank"]
    assert list(ranks.index) == ["hinton", "baseline", "at"]
    assert table["hinton"]["noise0.2"].split()[0] == "⇑"
    assert table["at"]["noise0.2"].split()[0] == "⇓"
    assert table["at"][next(name for name in table["at"] if name.startswith("noise0.4"))] == "–"
    assert (table["hinton"]["average rank"], table["hinton"]["studies"]) == ("1.00", "3")
    assert (table["at"]["average rank"], table["at"]["studies"]) == ("–", "1"), "ranks are of what every study has"
    assert "hinton has the best average rank, 1.00; next is the baseline with 2.00." in document.text
    assert list(table)[:3] == ["hinton", "baseline", "at"]
    links = [attributes["href"] for tag, attributes in document.tags if tag == "a"]
    assert links == ["../study%20%231/comparison/report.html"]
    assert "Digits: test labels as given" in document.text
    assert sorted(file.stem for file in out.glob("*.png")) == ["curves-1", "curves-2", "curves-3", "overview"]
    assert len(document.pictures) == 4
    empty = read_html(write_sweep_report([not_started()], tmp_path / "empty"))
    assert "In 0 of 1 studies" in empty.text
    assert "rank, " not in empty.text


@pytest.mark.usefixtures("without_png_files")
def test_a_sweep_reports_when_the_baseline_is_best(tmp_path: Path) -> None:
    two_methods = [synthetic.compared_study(("baseline", "at"), 5, scenario=name) for name in ("clean", "noise0.2")]
    three_methods = synthetic.compared_study(("baseline", "at", "hinton"), 5, scenario="noise0.4")
    path = write_sweep_report([*two_methods, three_methods], tmp_path)
    document = read_html(path)
    assert "The baseline has the best average rank, 1.00; next is at with 2.00." in document.text
    assert "−" in document.text
    assert not re.search(r"[ (][-+]0\.0 points|[ (]-[\d.]+ points", document.text)
    assert list(document.table("method|clean"))[:3] == ["baseline", "at", "hinton"]
    body = path.read_text(encoding="utf-8")
    (across,) = re.findall(r'<table[^>]*"Balanced accuracy, [^"]*">.*?</table>', body, flags=re.DOTALL)
    muted = re.findall(r'<tr class="muted"><th scope="row">([^<]*)<', across)
    stopped = [f"{method}, stopped early" for method in ("baseline", "at", "hinton")]
    assert set(muted) == {"teacher", *stopped}, "a method that some studies lack is one all the same"
    (overview,) = [words for words in document.pictures if words.startswith("Mean differences")]
    assert "noise0.4: 1 of 2" in overview
