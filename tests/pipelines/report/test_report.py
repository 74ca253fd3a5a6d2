"""The page of a study and of a sweep: whatever it is told, it is whole, says what was measured, and needs nothing else."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.report.charts import output
from pipelines.report.charts.style import BETTER_COLOUR, WORSE_COLOUR
from pipelines.report.examples import Examples, select_examples
from pipelines.report.metric_tables import class_size_table, performance_table
from pipelines.report.renderers.html import TEMPLATES
from pipelines.report.sections.classes import build_class_section
from pipelines.report.sections.epochs import describe_progress
from pipelines.report.sections.metrics import build_metric_section
from pipelines.report.sections.provenance import build_provenance_section, format_command, study_facts
from pipelines.report.sections.recovered import build_recovered_section
from pipelines.report.sections.scenario import build_scenario_section
from pipelines.report.sections.verdicts import build_verdict_section
from pipelines.report.study_files import StudyFiles, read_study_files
from pipelines.report.study_report import write_study_report
from pipelines.report.sweep_report import write_sweep_report
from robustkd.evaluation.results import FitMetrics
from robustkd.study import comparison, conclusions
from robustkd.study.across import compare_studies
from robustkd.study.comparison import Comparison
from robustkd.study.results import RunResult, load_study
from tests.pipelines import synthetic

VOID = {"meta", "img", "br", "hr", "link", "input", "path", "use", "rect", "image"}
HUNDRED = tuple(f"class {n}" for n in range(100))


class Tree(HTMLParser):
    """A page read strictly: what is opened is closed, ids are unique, pictures have words, nothing is fetched."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.referred: set[str] = set()
        self.pictures: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []
        assert len(self.ids) == len(set(self.ids))
        assert self.referred <= set(self.ids)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        assert len(told) == len(attrs), (tag, attrs)
        self.tags.append((tag, told))
        if tag not in VOID:
            self.open.append(tag)
        if told.get("id"):
            self.ids.append(str(told["id"]))
        self.referred |= {str(told["aria-labelledby"])} if "aria-labelledby" in told else set()
        for name, value in attrs:
            text = str(value)
            assert not name.startswith("on"), (tag, name)
            self.referred |= set(re.findall(r"url\(#([^)]+)\)", text))
            if name in ("href", "src"):
                assert text.startswith(("#", "data:image/png;base64,")) or tag == "a", text
                self.referred |= {text[1:]} if text.startswith("#") else set()
            if name != "content":
                assert "://" not in text, (tag, name, text)
        if tag == "svg" and told.get("aria-hidden") != "true":
            assert told["role"] == "img"
            self.pictures.append(str(told["aria-label"]))
        if tag == "img":
            self.pictures.append(str(told["alt"]))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.open and "tr" in self.open:
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    def table(self, heading: str) -> dict[str, dict[str, str]]:
        """The rows of the table whose columns begin so, by their heads."""
        start = next(n for n, row in enumerate(self.rows) if row[: len(heading.split("|"))] == heading.split("|"))
        heads, found = self.rows[start], {}
        for row in self.rows[start + 1 :]:
            if len(row) != len(heads) or row[0] in ("method", "class", "option"):
                break
            found[row[0]] = dict(zip(heads, row, strict=True))
        return found


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page that several tests read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "save_figure", lambda figure, path: path.touch())
        return write_study_report(CASES["plain"](), tmp_path_factory.mktemp("plain"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No PNG files, for tests of the page alone."""
    monkeypatch.setattr(output, "save_figure", lambda figure, path: path.touch())


def read(path: Path) -> Tree:
    return Tree(path.read_text(encoding="utf-8"))


def half_finished() -> Comparison:
    """A study with missing runs: all of one method, one seed of another."""
    study = synthetic.loaded_study(("baseline", "hinton", "dml"), 3)
    results = [r for r in study.results if r.run.method != "dml" and (r.run.method, r.run.seed) != ("hinton", 2)]
    return comparison.compare(study._replace(results=results))


def not_started() -> Comparison:
    return comparison.compare(synthetic.loaded_study()._replace(results=[], epochs={}))


def compare_changed(change: Callable[[RunResult], RunResult], **options: Any) -> Comparison:
    """Compare a study whose results have all been changed."""
    study = synthetic.loaded_study(**options)
    return comparison.compare(study._replace(results=[change(result) for result in study.results]))


def change_last(result: RunResult, **fields: Any) -> RunResult:
    """Replace fields of a run's metrics at the last epoch."""
    return result.model_copy(update={"last": result.last.model_copy(update=fields)})


def without_optional_parts(result: RunResult) -> RunResult:
    """Remove everything that is not measured of every run."""
    nothing = dict.fromkeys(("early", "fit", "agreement", "training"))
    return change_last(result.model_copy(update=nothing), scaled=None)


def with_infinite_logits(result: RunResult) -> RunResult:
    metrics = {**result.last.metrics, "nll": None, "brier": None, "ece": None}
    return change_last(result, metrics=metrics, reliability=[])


def without_rows_of_a_class(result: RunResult) -> RunResult:
    """Leave the last class without test rows."""
    last = result.last
    return change_last(
        result,
        recall={**last.recall, "eel": None},
        support={**last.support, "eel": 0},
        confusion=[*last.confusion[:2], [0, 0, 0]],
    )


def labels_as_given(trust: bool = False) -> Comparison:
    study = synthetic.loaded_study(("baseline", "hinton"), 5)
    results = [r.model_copy(update={"clean": r.last.model_copy(update={"rows": 7})}) for r in study.results]
    record = study.record.model_copy(update={"truth_known": False, "known_test": (7, 60), "known_training": (5, 9)})
    return comparison.compare(study._replace(record=record, results=results), trust)


CASES = {
    "plain": lambda: synthetic.compared_study(("baseline", "hinton", "at"), 5),
    "odd names": lambda: synthetic.compared_study(
        ("baseline", "hinton(alpha=0.7, temperature=2)+balanced", "baseline+balanced"), 2, synthetic.SPECIAL_NAMES
    ),
    "100 classes": lambda: synthetic.compared_study(("baseline", "hinton", "dml", "at"), 5, HUNDRED, 400),
    "2 classes": lambda: synthetic.compared_study(("baseline", "hinton"), 2, ("no", "yes")),
    "1 seed": lambda: synthetic.compared_study(("baseline", "hinton"), 1),
    "half finished": half_finished,
    "nothing finished": not_started,
    "no baseline": lambda: synthetic.compared_study(("hinton", "dml"), 2),
    "baseline alone": lambda: synthetic.compared_study(("baseline",), 2),
    "labels as given": labels_as_given,
    "nothing optional": lambda: compare_changed(without_optional_parts),
    "logits not finite": lambda: compare_changed(with_infinite_logits),
    "class without test rows": lambda: compare_changed(without_rows_of_a_class),
}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("case", CASES)
def test_a_page_is_whole_whatever_it_is_told(case: str, tmp_path: Path) -> None:
    made = CASES[case]()
    path = write_study_report(made, tmp_path)
    found = read(path)
    drawn = sorted(file.stem for file in tmp_path.glob("*.png"))
    assert len(found.pictures) == len(drawn), "every picture is a file too"
    assert all(len(words) > 20 for words in found.pictures)
    assert [tag for tag, _ in found.tags].count("h1") == 1
    assert ("viewport", "width=device-width, initial-scale=1") in [
        (t.get("name"), t.get("content")) for _, t in found.tags
    ]
    assert path.stat().st_size < 1_000_000
    assert "nan" not in found.text.lower().split()
    question, answer = conclusions.question_and_answer(made)
    assert " ".join(question.split()) in found.text
    told = " ".join(answer.split()).replace(" +0.0 ", " 0.0 ")
    assert told.replace("(-", "(−").replace(" -", " −") in found.text


@pytest.mark.usefixtures("quick")
def test_names_are_text_and_nothing_else(tmp_path: Path) -> None:
    found = read(write_study_report(CASES["odd names"](), tmp_path))
    scripts = [told for tag, told in found.tags if tag == "script"]
    assert len(scripts) == 1, "a class is called <script>, and is none"
    heads = {row[0] for row in found.rows}
    assert set(synthetic.SPECIAL_NAMES) <= heads
    assert any('a "b" & |c| id="x"' in text for text in found.texts), "not even in a picture is a name changed"
    assert "x" not in found.ids


def test_the_page_allows_its_own_script_alone_and_fetches_nothing(plain: Path) -> None:
    text = plain.read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert not re.findall(r"https?://", text)
    assert "@import" not in text


def test_the_tables_say_what_the_results_say(plain: Path) -> None:
    made, found = CASES["plain"](), read(plain)
    table = found.table("method|accuracy|balanced accuracy")
    for method in ("baseline", "hinton", "at"):
        values = [r.last.metrics["accuracy"] for r in made.results if r.run.method == method]
        mean = sum(values) / len(values)
        std = (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5
        assert table[method]["accuracy"] == f"{100 * mean:.1f} ± {100 * std:.1f}"
    verdicts = found.table("method|difference|95 % interval")
    assert list(verdicts) == ["hinton", "at"], "the largest difference first"
    assert verdicts["hinton"]["verdict"] == "better"
    assert verdicts["at"]["verdict"] == "worse"
    assert verdicts["at"]["difference"].startswith("−")
    for line in conclusions.verdict_rule(made):
        assert " ".join(line.split()) in found.text
    best = [told for tag, told in found.tags if tag == "td" and told.get("class") == "best"]
    assert best


@pytest.mark.usefixtures("quick")
def test_labels_as_given_are_said_first_and_no_verdict_is_given(tmp_path: Path) -> None:
    found = read(write_study_report(labels_as_given(), tmp_path))
    start = found.text.index("Test labels as given; the clean part is 7 of 60 rows")
    assert start < found.text.index(conclusions.question_and_answer(labels_as_given())[0])
    assert found.table("method|difference")["hinton"]["verdict"] == "withheld"
    assert "Performance on the test rows with a clean label" in found.text
    assert "Measured on the 5 of 9 training rows whose true label is known" in found.text
    trusting = read(write_study_report(labels_as_given(trust=True), tmp_path, trust=True))
    assert trusting.table("method|difference")["hinton"]["verdict"] == "better"
    assert "treated as clean, as requested" in trusting.text
    assert "Test labels as given" in trusting.text
    assert "Test labels as given" not in read(write_study_report(CASES["1 seed"](), tmp_path)).text


@pytest.mark.usefixtures("quick")
def test_what_is_not_finished_is_said(tmp_path: Path) -> None:
    assert ("students' runs", "5 of 9, not finished") in study_facts(half_finished())
    told = dict(build_provenance_section(half_finished(), StudyFiles(None)).facts)
    assert told["not finished"] == "hinton seed 2; dml seed 0; dml seed 1; dml seed 2"
    assert "No run is finished yet." in read(write_study_report(not_started(), tmp_path)).text


def test_a_study_in_files_shows_its_scenario_and_what_was_recovered(tmp_path: Path) -> None:
    place = synthetic.study_folder(tmp_path)
    made = comparison.compare(load_study(place))
    out = place / "comparison"
    (out).mkdir()
    (out / "classes-9.png").touch()
    path = write_study_report(made, out)
    found = read(path)
    rows = {}
    for seed in (0, 1):
        lines = (place / f"manifest-{seed}.csv").read_text().splitlines()
        head = lines[0].split(",")
        told = [dict(zip(head, line.split(","), strict=True)) for line in lines[1:]]
        rows[seed] = [line for line in told if line["split"] == "train"]
    every = [line for seed in rows.values() for line in seed]
    wrong = sum(line["label"] != line["truth"] for line in every) / len(every)
    assert f"{100 * wrong:.1f} % of the training images are shown under a wrong label" in found.text
    wrong_rows = [line for line in rows[0] if line["label"] != line["truth"]]
    fooled = sum(int(line["row"]) % 2 for line in wrong_rows)
    assert 24 < fooled < len(wrong_rows)
    assert f"hinton (seed 0) gives the true one: {len(wrong_rows)} in all" in found.text
    assert f"First the {fooled} for which baseline gives the wrong one" in found.text
    thumbs = [told for tag, told in found.tags if tag == "img"]
    assert len(thumbs) == 24
    shown = [re.fullmatch(r"Training image (\d+): labelled (\d), truly (\d)", str(told["alt"])) for told in thumbs]
    expected = sorted((int(r["row"]), r["label"], r["truth"]) for r in wrong_rows if int(r["row"]) % 2)[:24]
    assert [(int(m[1]), m[2], m[3]) for m in shown if m] == expected
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
    assert write_study_report(made, out).read_bytes() == before, "the same study gives the same page"


def test_without_files_what_needs_them_is_left_out_in_a_sentence(plain: Path) -> None:
    found = read(plain)
    assert "Class sizes against recall are left out: it requires the study's files" in found.text
    assert "The transition matrix is left out" in found.text
    assert "Images are left out: they require the study's files" in found.text
    assert not [told for tag, told in found.tags if tag == "img"]


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        ("another set", "the data set is not the one that the study used"),
        ("no answers", "(fit-last.npz) are missing"),
        ("no data", "Images are left out: npz:"),
        ("broken manifest", "the study's manifests cannot be read"),
        ("no manifest", "the study's manifests are missing"),
    ],
)
def test_a_report_is_not_lost_to_its_thumbnails(harm: str, told: str, tmp_path: Path) -> None:
    place = synthetic.study_folder(tmp_path, seed_count=1)
    card = json.loads((place / "study.json").read_text())
    if harm == "another set":
        card["fingerprint"] = "f" * 16
    elif harm == "no data":
        card["options"]["dataset"] = f"npz:{tmp_path / 'gone.npz'}"
    elif harm == "no answers":
        for path in place.glob("runs/*/fit-last.npz"):
            path.unlink()
    elif harm == "broken manifest":
        (place / "manifest-0.json").write_text("{")
    else:
        (place / "manifest-0.json").unlink()
    (place / "study.json").write_text(json.dumps(card))
    made = comparison.compare(load_study(place))
    seen, who = read_study_files(made), select_examples(made)
    drawn, shown = build_scenario_section(made, seen), build_recovered_section(made, who)
    assert drawn is not None
    assert shown is not None
    assert told in " ".join([*drawn.notes, *shown.notes])


def test_the_methods_that_matter_are_the_best_the_worst_and_those_with_a_verdict() -> None:
    methods = ("baseline", "hinton", *(f"m{n}" for n in range(9)), "at")
    made = synthetic.compared_study(methods, 5)
    table = made.verdicts.copy()
    table["difference"] = np.arange(len(table)) / 100.0  # at, the last, is the best
    told = {5: "better", 7: "worse", 9: "better"}
    table["verdict"] = [told.get(place, "no difference shown") for place in range(len(table))]
    who = select_examples(made._replace(verdicts=table))
    assert who == Examples("baseline", "at", ["at", "m8", "m6", "m4", "hinton"])
    assert select_examples(synthetic.compared_study(("hinton", "dml"), 2)).reference is None
    assert select_examples(not_started()) == Examples(None, None)


@pytest.mark.usefixtures("quick")
def test_a_sweep_sets_studies_side_by_side(tmp_path: Path) -> None:
    near = synthetic.compared_study(("baseline", "hinton", "at"), 5, scenario="noise0.2")
    far = synthetic.compared_study(("baseline", "hinton"), 5, rows=90)
    home = tmp_path / "study #1"
    (home / "comparison").mkdir(parents=True)
    (home / "comparison" / "report.html").touch()
    out = tmp_path / "sweep"
    path = write_sweep_report(
        [near._replace(folder=home), far._replace(folder=tmp_path / "gone"), labels_as_given()], out
    )
    found = read(path)
    table = found.table("method|noise0.2")
    ranks = compare_studies([near], comparison.HEADLINE).ranks["rank"]
    assert list(ranks.index) == ["hinton", "baseline", "at"]
    assert table["hinton"]["noise0.2"].split()[0] == "⇑"
    assert table["at"]["noise0.2"].split()[0] == "⇓"
    assert table["at"][next(name for name in table["at"] if name.startswith("noise0.4"))] == "–"
    assert (table["hinton"]["average rank"], table["hinton"]["studies"]) == ("1.00", "3")
    assert (table["at"]["average rank"], table["at"]["studies"]) == ("–", "1"), "ranks are of what every study has"
    assert "hinton has the best average rank, 1.00; next is the baseline with 2.00." in found.text
    assert list(table)[:3] == ["hinton", "baseline", "at"]
    links = [told["href"] for tag, told in found.tags if tag == "a"]
    assert links == ["../study%20%231/comparison/report.html"]
    assert "Digits: test labels as given" in found.text
    assert sorted(file.stem for file in out.glob("*.png")) == ["curves-1", "curves-2", "curves-3", "overview"]
    assert len(found.pictures) == 4
    one = read(write_sweep_report([not_started()], tmp_path / "empty"))
    assert "In 0 of 1 studies" in one.text
    assert "rank, " not in one.text


@pytest.mark.usefixtures("quick")
def test_where_the_baseline_is_the_best_a_sweep_says_so(tmp_path: Path) -> None:
    made = [synthetic.compared_study(("baseline", "at"), 5, scenario=name) for name in ("clean", "noise0.2")]
    alone = synthetic.compared_study(("baseline", "at", "hinton"), 5, scenario="noise0.4")
    path = write_sweep_report([*made, alone], tmp_path)
    found = read(path)
    assert "The baseline has the best average rank, 1.00; next is at with 2.00." in found.text
    assert "−" in found.text
    assert not re.search(r"[ (][-+]0\.0 points|[ (]-[\d.]+ points", found.text)
    assert list(found.table("method|clean"))[:3] == ["baseline", "at", "hinton"]
    body = path.read_text(encoding="utf-8")
    (across,) = re.findall(r'<table[^>]*"Balanced accuracy, [^"]*">.*?</table>', body, flags=re.DOTALL)
    beside = re.findall(r'<tr class="muted"><th scope="row">([^<]*)<', across)
    assert beside == ["teacher", "baseline, stopped early"], "a method that some studies lack is one all the same"
    (overview,) = [words for words in found.pictures if words.startswith("Mean differences")]
    assert "noise0.4: 1 of 2" in overview


@pytest.mark.parametrize(
    ("classes", "told", "heads"),
    [
        (2, {"many": 0.5}, []),
        (5, {"many": 0.5, "head": 0.4, "middle": 0.5, "tail": 0.6}, ["worst three"]),
        (
            9,
            {"many": 0.5, "head": 0.4, "middle": 0.5, "tail": 0.6},
            ["worst three", "largest third", "middle third", "smallest third"],
        ),
        (9, {"many": 0.5, "few": 0.4, "head": 0.4, "tail": 0.6}, ["worst three", "many", "few"]),
    ],
)
def test_no_column_repeats_another(classes: int, told: dict[str, float], heads: list[str]) -> None:
    made = compare_changed(
        lambda result: change_last(result, groups=told), classes=tuple(f"c{n}" for n in range(classes))
    )
    fixed = {"method", "accuracy", "balanced accuracy", "worst class", "macro F1", "seeds"}
    tables = [table for table in (performance_table(made), class_size_table(made)) if table is not None]
    titles = [column.title for table in tables for column in table.columns]
    assert [title for title in titles if title not in fixed] == heads


def without_fit(result: RunResult) -> RunResult:
    return result.model_copy(update={"fit": None})


@pytest.mark.parametrize("known", [True, False])
def test_agreement_with_the_teacher_is_nothing_against_the_truth(known: bool) -> None:
    made = comparison.compare(synthetic.loaded_study()) if known else compare_changed(without_fit)
    tables = {table.title: [column.title for column in table.columns] for table in build_metric_section(made).tables}
    assert ("against the truth" in tables) == known
    assert tables["agreement with the teacher"] == ["method", "on the test set", "seeds"]
    notes = [table.note for table in build_metric_section(made).tables if table.title == "against the truth"]
    assert [note.startswith("Memorised: wrong training labels") for note in notes] == [True] * known


@pytest.mark.parametrize(("corrupted", "warned"), [(4, True), (0, False), (None, True)])
def test_label_noise_is_mentioned_where_there_may_be_any(corrupted: int | None, warned: bool) -> None:
    def change(result: RunResult) -> RunResult:
        metrics = None if corrupted is None else FitMetrics(known=9, corrupted=corrupted, foreign=0, metrics={})
        return result.model_copy(update={"fit": metrics})

    (line,) = describe_progress(compare_changed(change))
    assert line.startswith("Plain training: ")
    assert ("label noise" in line) == warned


@pytest.mark.parametrize(("seeds", "told"), [(1, "-"), (2, "-"), (4, "-"), (5, "[0.0, 0.0]")])
def test_no_difference_in_few_seeds_is_no_certainty(seeds: int, told: str) -> None:
    def equalise(result: RunResult) -> RunResult:
        recall = {"cat": 1.0, "dog": 0.5 + result.run.seed / 10, "eel": 0.1}
        return change_last(result, recall=recall, metrics={**result.last.metrics, "balanced_accuracy": 0.5})

    made = compare_changed(equalise, seed_count=seeds)
    section = build_class_section(made, select_examples(made), StudyFiles(None))
    assert section is not None
    rows = [[cell.text for cell in row.cells] for row in section.collapsed[0].rows]
    assert [(row[5], row[6]) for row in rows] == [("0.0", told)] * 3
    verdicts = build_verdict_section(made, trust=False)
    assert verdicts is not None
    assert verdicts.tables[0].rows[0].cells[2].text == told
    if seeds == 1:
        assert rows[0][7] == "-"
        assert [cell.text for cell in verdicts.tables[0].rows[0].cells[5:7]] == ["-", "-"]
        assert "interval" not in section.pictures[0].caption


def luminance(colour: tuple[float, ...]) -> float:
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_text_stands_out_by_day_and_by_night() -> None:
    style = (TEMPLATES / "style.css").read_text()
    blocks = re.findall(r":root \{([^}]*)\}", style)[:2]
    for block in blocks:
        shades = {
            name: tuple(int(code[n : n + 2], 16) / 255 for n in (0, 2, 4))
            for name, code in re.findall(r"--(\w+): #(\w{6})", block)
        }
        for name in ("ink", "muted", "better", "worse"):
            for ground in ("paper", "tint"):
                assert contrast(shades[name], shades[ground]) >= 4.5, (name, ground)
        for name in ("blue", "vermilion", "green", "pink", "sky", "amber"):
            assert contrast(shades[name], shades["paper"]) >= 3, name
        for code in (BETTER_COLOUR, WORSE_COLOUR):  # a cell of a matrix at its strongest, with ink on it
            full = tuple(int(code[n : n + 2], 16) / 255 for n in (1, 3, 5))
            cell = tuple(0.75 * c + 0.25 * p for c, p in zip(full, shades["paper"], strict=True))
            assert contrast(shades["ink"], cell) >= 4.5, code


def test_a_command_can_be_typed_again() -> None:
    given = synthetic.study_record(("baseline",), 2, ("a",), data_dir="my data", augment=False).options
    assert format_command(given) == (
        "robustkd run --scenario noise0.4 --data-dir 'my data' --methods baseline --seeds 2 --no-augment"
    )


def test_mlflow_and_files_give_the_same_tables(tmp_path: Path) -> None:
    place = synthetic.study_folder(tmp_path, seed_count=1)
    record = load_study(place)
    there, gone = comparison.compare(record), comparison.compare(record._replace(folder=None))
    assert build_metric_section(there) == build_metric_section(gone)
    assert build_verdict_section(gone, False).tables == build_verdict_section(there, False).tables  # type: ignore[union-attr]
    assert read_study_files(gone).counts is None
    assert read_study_files(there).counts is not None
