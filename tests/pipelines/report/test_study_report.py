"""The HTML report of a study: complete for every kind of study, correct, and independent of other files."""

import base64
import hashlib
import re
from pathlib import Path

import pytest

from pipelines.report.study_report import write_study_report
from robustkd.study import comparison, conclusions
from robustkd.study.results import read_study
from tests.pipelines import synthetic
from tests.pipelines.report.cases import (
    CASES,
    labels_as_given,
)
from tests.pipelines.report.html_document import read_html


@pytest.mark.usefixtures("without_png_files")
@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_study_has_a_complete_report(case: str, tmp_path: Path) -> None:
    compared = CASES[case]()
    path = write_study_report(compared, tmp_path)
    document = read_html(path)
    drawn = sorted(file.stem for file in tmp_path.glob("*.png"))
    assert len(document.pictures) == len(drawn), "every picture is a file too"
    assert all(len(words) > 20 for words in document.pictures)
    assert [tag for tag, _ in document.tags].count("h1") == 1
    assert ("viewport", "width=device-width, initial-scale=1") in [
        (t.get("name"), t.get("content")) for _, t in document.tags
    ]
    assert path.stat().st_size < 1_000_000
    assert "nan" not in document.text.lower().split()
    question, answer = conclusions.question_and_answer(compared)
    assert " ".join(question.split()) in document.text
    sentence = " ".join(answer.split()).replace(" +0.0 ", " 0.0 ")
    assert sentence.replace("(-", "(−").replace(" -", " −") in document.text


@pytest.mark.usefixtures("without_png_files")
def test_names_are_escaped_in_reports(tmp_path: Path) -> None:
    document = read_html(write_study_report(CASES["odd names"](), tmp_path))
    scripts = [attributes for tag, attributes in document.tags if tag == "script"]
    assert len(scripts) == 1, "a class is called <script>, and is none"
    names = {row[0] for row in document.rows}
    assert set(synthetic.SPECIAL_NAMES) <= names
    assert any('a "b" & |c| id="x"' in text for text in document.texts), "not even in a picture is a name changed"
    assert "x" not in document.ids


def test_a_report_allows_only_its_own_script_and_fetches_nothing(plain_report: Path) -> None:
    text = plain_report.read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert not re.findall(r"https?://", text)
    assert "@import" not in text


def test_tables_agree_with_the_results(plain_report: Path) -> None:
    compared, document = CASES["plain"](), read_html(plain_report)
    table = document.table("method|accuracy|balanced accuracy")
    for method in ("baseline", "hinton", "at"):
        values = [r.last.metrics["accuracy"] for r in compared.results if r.run.method == method]
        mean = sum(values) / len(values)
        std = (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5
        assert table[method]["accuracy"] == f"{100 * mean:.1f} ± {100 * std:.1f}"
    verdicts = document.table("method|difference|95 % interval")
    assert list(verdicts) == ["hinton", "at"], "the largest difference first"
    assert verdicts["hinton"]["verdict"] == "better"
    assert verdicts["at"]["verdict"] == "worse"
    assert verdicts["at"]["difference"].startswith("−")
    for line in conclusions.verdict_rule(compared):
        assert " ".join(line.split()) in document.text
    best = [attributes for tag, attributes in document.tags if tag == "td" and attributes.get("class") == "best"]
    assert best


@pytest.mark.usefixtures("without_png_files")
def test_caveats_on_test_labels_come_first_and_verdicts_are_marked(tmp_path: Path) -> None:
    document = read_html(write_study_report(labels_as_given(), tmp_path))
    start = document.text.index("Test labels as given; the clean part is 7 of 60 rows")
    assert start < document.text.index(conclusions.question_and_answer(labels_as_given())[0])
    assert document.table("method|difference")["hinton"]["verdict"] == "better, as given"
    assert "(balanced accuracy on the labels as given, which may be wrong; over seeds" in document.text
    assert "Performance on the test rows with a clean label" in document.text
    assert "Measured on the 5 of 9 training rows whose true label is known" in document.text
    trusting = read_html(write_study_report(labels_as_given(trust=True), tmp_path))
    assert trusting.table("method|difference")["hinton"]["verdict"] == "better"
    assert "treated as clean, as requested" in trusting.text
    assert "Test labels as given" in trusting.text
    assert "Test labels as given" not in read_html(write_study_report(CASES["1 seed"](), tmp_path)).text


def test_a_study_in_files_shows_its_scenario_and_recovered_images(tmp_path: Path) -> None:
    folder = synthetic.study_folder(tmp_path)
    compared = comparison.compare_runs(read_study(folder))
    out = folder / "comparison"
    (out).mkdir()
    (out / "classes-9.png").touch()
    path = write_study_report(compared, out)
    document = read_html(path)
    rows = {}
    for seed in (0, 1):
        lines = (folder / f"manifest-{seed}.csv").read_text().splitlines()
        titles = lines[0].split(",")
        entries = [dict(zip(titles, line.split(","), strict=True)) for line in lines[1:]]
        rows[seed] = [line for line in entries if line["split"] == "train"]
    every = [line for seed in rows.values() for line in seed]
    wrong = sum(line["label"] != line["truth"] for line in every) / len(every)
    assert f"{100 * wrong:.1f} % of the training images are shown under a wrong label" in document.text
    wrong_rows = [line for line in rows[0] if line["label"] != line["truth"]]
    memorised = sum(int(line["row"]) % 2 for line in wrong_rows)
    assert 24 < memorised < len(wrong_rows)
    assert f"hinton (seed 0) gives the true one: {len(wrong_rows)} in all" in document.text
    assert f"First the {memorised} for which baseline gives the wrong one" in document.text
    images = [attributes for tag, attributes in document.tags if tag == "img"]
    assert len(images) == 24
    descriptions = [
        re.fullmatch(r"Training image (\d+): labelled (\d), truly (\d)", str(image["alt"])) for image in images
    ]
    expected = sorted((int(r["row"]), r["label"], r["truth"]) for r in wrong_rows if int(r["row"]) % 2)[:24]
    assert [(int(m[1]), m[2], m[3]) for m in descriptions if m] == expected
    assert not (out / "classes-9.png").exists(), "of a method that no longer matters"
    pictures = {file.stem for file in out.glob("*.png")}
    assert {
        "difference",
        "overview",
        "accuracy",
        "confusion-change",
        "reliability-best",
        "sizes",
        "transitions",
        "cost",
    } <= pictures
    assert all((out / f"{name}.png").read_bytes().startswith(b"\x89PNG") for name in pictures)
    before = path.read_bytes()
    assert write_study_report(compared, out).read_bytes() == before, "the same study gives the same page"


def test_a_study_without_files_says_what_is_left_out(plain_report: Path) -> None:
    document = read_html(plain_report)
    assert "Class sizes against recall are left out: it requires the study's files" in document.text
    assert "The transition matrix is left out" in document.text
    assert "Images are left out: they require the study's files" in document.text
    assert not [attributes for tag, attributes in document.tags if tag == "img"]
