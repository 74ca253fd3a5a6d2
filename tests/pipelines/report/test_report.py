"""The page of a study and of a sweep: whatever it is told, it is whole, says what was measured, and needs nothing else."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import report
from pipelines.report import charts, sections
from pipelines.report import html as page
from pipelines.report.study_files import Files
from robustkd.study import comparison
from robustkd.study.comparison import Comparison, Recorded
from tests.pipelines import made_up

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
        patch.setattr(charts, "write", lambda figure, path: path.touch())
        return report.write(CASES["plain"](), tmp_path_factory.mktemp("plain"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No PNG files, for tests of the page alone."""
    monkeypatch.setattr(charts, "write", lambda figure, path: path.touch())


def read(path: Path) -> Tree:
    return Tree(path.read_text(encoding="utf-8"))


def half() -> Comparison:
    """A study with some runs missing: one method is not there at all, one only for a seed."""
    record = made_up.recorded(("baseline", "hinton", "dml"), 3)
    kept = [
        r
        for r in record.results
        if r["cell"]["method"] != "dml" and (r["cell"]["method"], r["cell"]["seed"]) != ("hinton", 2)
    ]
    return comparison.compare(record._replace(results=kept))


def nothing() -> Comparison:
    return comparison.compare(made_up.recorded()._replace(results=[], epochs={}))


def changed(change: Any, **words: Any) -> Comparison:
    """A study whose every result was changed."""
    record = made_up.recorded(**words)
    for result in record.results:
        change(result)
    return comparison.compare(record)


def older(result: dict[str, Any]) -> None:
    """What an earlier version measured."""
    kept = ("accuracy", "balanced_accuracy", "worst_recall", "recall", "support", "confusion")
    result["last"] = {name: result["last"][name] for name in kept}
    for name in ("early", "fit", "cost", "agreement"):
        del result[name]


def not_finite(result: dict[str, Any]) -> None:
    result["last"] |= {"nll": None, "brier": None, "ece": None, "reliability": []}


def no_rows(result: dict[str, Any]) -> None:
    """The last class is in no test row."""
    last = result["last"]
    last["recall"]["eel"], last["support"]["eel"] = None, 0
    last["confusion"][2] = [0, 0, 0]


def as_given(trust: bool = False) -> Comparison:
    record = made_up.recorded(("baseline", "hinton"), 5)
    for result in record.results:
        result["clean"] = {"rows": 7, **result["last"]}
    study = {**record.study, "truth_known": False, "known_test": [7, 60], "known_training": [5, 9]}
    return comparison.compare(record._replace(study=study), trust)


CASES = {
    "plain": lambda: made_up.study(("baseline", "hinton", "at"), 5),
    "odd names": lambda: made_up.study(
        ("baseline", "hinton(alpha=0.7, temperature=2)+balanced", "baseline+balanced"), 2, made_up.ODD
    ),
    "100 classes": lambda: made_up.study(("baseline", "hinton", "dml", "at"), 5, HUNDRED, 400),
    "2 classes": lambda: made_up.study(("baseline", "hinton"), 2, ("no", "yes")),
    "1 seed": lambda: made_up.study(("baseline", "hinton"), 1),
    "half finished": half,
    "nothing finished": nothing,
    "no baseline": lambda: made_up.study(("hinton", "dml"), 2),
    "baseline alone": lambda: made_up.study(("baseline",), 2),
    "labels as given": as_given,
    "of an earlier version": lambda: changed(older),
    "logits not finite": lambda: changed(not_finite),
    "class without test rows": lambda: changed(no_rows),
}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("case", CASES)
def test_a_page_is_whole_whatever_it_is_told(case: str, tmp_path: Path) -> None:
    made = CASES[case]()
    path = report.write(made, tmp_path)
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
    question, answer = comparison.answer(made)
    assert " ".join(question.split()) in found.text
    told = " ".join(answer.split()).replace(" +0.0 ", " 0.0 ")
    assert told.replace("(-", "(−").replace(" -", " −") in found.text


@pytest.mark.usefixtures("quick")
def test_names_are_text_and_nothing_else(tmp_path: Path) -> None:
    found = read(report.write(CASES["odd names"](), tmp_path))
    scripts = [told for tag, told in found.tags if tag == "script"]
    assert len(scripts) == 1, "a class is called <script>, and is none"
    heads = {row[0] for row in found.rows}
    assert set(made_up.ODD) <= heads
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
    table = found.table("method|accuracy|balanced")
    for method in ("baseline", "hinton", "at"):
        values = [r["last"]["accuracy"] for r in made.results if r["cell"]["method"] == method]
        mean = sum(values) / len(values)
        std = (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5
        assert table[method]["accuracy"] == f"{100 * mean:.1f} ± {100 * std:.1f}"
    verdicts = found.table("method|difference|95 % interval")
    assert list(verdicts) == ["hinton", "at"], "the largest difference first"
    assert verdicts["hinton"]["verdict"] == "better"
    assert verdicts["at"]["verdict"] == "worse"
    assert verdicts["at"]["difference"].startswith("−")
    for line in comparison.rule(made):
        assert " ".join(line.split()) in found.text
    best = [told for tag, told in found.tags if tag == "td" and told.get("class") == "best"]
    assert best


@pytest.mark.usefixtures("quick")
def test_labels_as_given_are_said_first_and_no_verdict_is_given(tmp_path: Path) -> None:
    found = read(report.write(as_given(), tmp_path))
    start = found.text.index("Test labels as given; the clean part is 7 of 60 rows")
    assert start < found.text.index(comparison.answer(as_given())[0])
    assert found.table("method|difference")["hinton"]["verdict"] == "withheld"
    assert "On the test rows with a clean label" in found.text
    assert "measured on the 5 of 9 training images whose truth is known" in found.text
    trusting = read(report.write(as_given(trust=True), tmp_path, trust=True))
    assert trusting.table("method|difference")["hinton"]["verdict"] == "better"
    assert "taken for clean, as asked" in trusting.text
    assert "Test labels as given" in trusting.text
    assert "Test labels as given" not in read(report.write(CASES["1 seed"](), tmp_path)).text


@pytest.mark.usefixtures("quick")
def test_what_is_not_finished_is_said(tmp_path: Path) -> None:
    assert ("students' runs", "5 of 9, not finished") in sections.facts(half())
    told = dict(sections.history(half(), Files(None)).described)
    assert told["not finished"] == "hinton seed 2; dml seed 0; dml seed 1; dml seed 2"
    assert "No run is finished yet." in read(report.write(nothing(), tmp_path)).text


def test_a_study_in_files_shows_its_scenario_and_what_was_recovered(tmp_path: Path) -> None:
    place = made_up.folder(tmp_path)
    made = comparison.compare(comparison.load_record(place))
    out = place / "comparison"
    (out).mkdir()
    (out / "classes-9.png").touch()
    path = report.write(made, out)
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
    assert report.write(made, out).read_bytes() == before, "the same study gives the same page"


def test_without_files_what_needs_them_is_left_out_in_a_sentence(plain: Path) -> None:
    found = read(plain)
    assert "Class sizes against recall are left out: it needs the study's files" in found.text
    assert "The transition matrix is left out" in found.text
    assert "Images are left out: they need the study's files" in found.text
    assert not [told for tag, told in found.tags if tag == "img"]


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        ("another set", "the data set there now is not the one that the study was made of"),
        ("no answers", "(fit-last.npz) are not there"),
        ("no data", "Images are left out: npz:"),
        ("broken manifest", "the study's manifests cannot be read"),
        ("no manifest", "the study's manifests are not there"),
    ],
)
def test_a_report_is_not_lost_to_its_thumbnails(harm: str, told: str, tmp_path: Path) -> None:
    place = made_up.folder(tmp_path, seeds_=1)
    card = json.loads((place / "study.json").read_text())
    if harm == "another set":
        card["fingerprint"] = "f" * 16
    elif harm == "no data":
        card["given"]["dataset"] = f"npz:{tmp_path / 'gone.npz'}"
    elif harm == "no answers":
        for path in place.glob("runs/*/fit-last.npz"):
            path.unlink()
    elif harm == "broken manifest":
        (place / "manifest-0.json").write_text("{")
    else:
        (place / "manifest-0.json").unlink()
    (place / "study.json").write_text(json.dumps(card))
    made = comparison.compare(comparison.load_record(place))
    seen, who = Files.of(made), sections.select_examples(made)
    drawn, shown = sections.scenario(made, seen), sections.recovered(made, who, seen)
    assert drawn is not None
    assert shown is not None
    assert told in " ".join([*drawn.notes, *shown.notes])


def test_the_methods_that_matter_are_the_best_the_worst_and_those_with_a_verdict() -> None:
    methods = ("baseline", "hinton", *(f"m{n}" for n in range(9)), "at")
    made = made_up.study(methods, 5)
    table = made.verdicts.copy()
    table["difference"] = np.arange(len(table)) / 100.0  # at, the last, is the best
    told = {5: "better", 7: "worse", 9: "better"}
    table["verdict"] = [told.get(place, "no difference shown") for place in range(len(table))]
    who = sections.select_examples(made._replace(verdicts=table))
    assert who == sections.Examples("baseline", "at", ["at", "m8", "m6", "m4", "hinton"])
    assert sections.select_examples(made_up.study(("hinton", "dml"), 2)).reference is None
    assert sections.select_examples(nothing()) == sections.Examples(None, None)


@pytest.mark.usefixtures("quick")
def test_a_sweep_sets_studies_side_by_side(tmp_path: Path) -> None:
    near = made_up.study(("baseline", "hinton", "at"), 5, scenario="noise0.2")
    far = made_up.study(("baseline", "hinton"), 5, rows=90)
    home = tmp_path / "study #1"
    (home / "comparison").mkdir(parents=True)
    (home / "comparison" / "report.html").touch()
    out = tmp_path / "sweep"
    path = report.write_sweep([near._replace(folder=home), far._replace(folder=tmp_path / "gone"), as_given()], out)
    found = read(path)
    table = found.table("method|noise0.2")
    ranks = comparison.across([near], comparison.HEADLINE).ranks["rank"]
    assert list(ranks.index) == ["hinton", "baseline", "at"]
    assert table["hinton"]["noise0.2"].split()[1] == "▲"
    assert table["at"]["noise0.2"].split()[1:3] == ["↓", "▼"]
    assert table["at"][next(name for name in table["at"] if name.startswith("noise0.4"))] == "–"
    assert (table["hinton"]["rank"], table["hinton"]["studies"]) == ("1.00", "3")
    assert (table["at"]["rank"], table["at"]["studies"]) == ("–", "1"), "ranks are of what every study has"
    assert "hinton has the best average rank, 1.00; next is the baseline with 2.00." in found.text
    assert list(table)[:3] == ["hinton", "baseline", "at"]
    links = [told["href"] for tag, told in found.tags if tag == "a"]
    assert links == ["../study%20%231/comparison/report.html"]
    assert "Digits: test labels as given" in found.text
    assert sorted(file.stem for file in out.glob("*.png")) == ["curves-1", "curves-2", "curves-3", "overview"]
    assert len(found.pictures) == 4
    one = read(report.write_sweep([nothing()], tmp_path / "empty"))
    assert "In 0 of 1 studies" in one.text
    assert "rank, " not in one.text


@pytest.mark.usefixtures("quick")
def test_where_the_baseline_is_the_best_a_sweep_says_so(tmp_path: Path) -> None:
    made = [made_up.study(("baseline", "at"), 5, scenario=name) for name in ("clean", "noise0.2")]
    alone = made_up.study(("baseline", "at", "hinton"), 5, scenario="noise0.4")
    path = report.write_sweep([*made, alone], tmp_path)
    found = read(path)
    assert "The baseline has the best average rank, 1.00; next is at with 2.00." in found.text
    assert "−" in found.text
    assert not re.search(r"[ (][-+]0\.0 points|[ (]-[\d.]+ points", found.text)
    assert list(found.table("method|clean"))[:3] == ["baseline", "at", "hinton"]
    body = path.read_text(encoding="utf-8")
    (across,) = re.findall(r'<table[^>]*"Balanced accuracy">.*?</table>', body, flags=re.DOTALL)
    beside = re.findall(r'<tr class="aside"><th scope="row">([^<]*)<', across)
    assert beside == ["teacher", "baseline, stopped early"], "a method that some studies lack is one all the same"
    (overview,) = [words for words in found.pictures if words.startswith("Mean differences")]
    assert "noise0.4: 1 of 2" in overview


@pytest.mark.parametrize(
    ("classes", "told", "heads"),
    [
        (2, {"many": 0.5}, []),
        (5, {"many": 0.5, "head": 0.4, "middle": 0.5, "tail": 0.6}, ["worst three"]),
        (9, {"many": 0.5, "head": 0.4, "middle": 0.5, "tail": 0.6}, ["worst three", "head", "middle", "tail"]),
        (9, {"many": 0.5, "few": 0.4, "head": 0.4, "tail": 0.6}, ["worst three", "many", "few"]),
    ],
)
def test_no_column_repeats_another(classes: int, told: dict[str, float], heads: list[str]) -> None:
    made = changed(lambda result: result["last"].update(groups=told), classes=tuple(f"c{n}" for n in range(classes)))
    table = sections.methods(made).tables[0]
    fixed = {"method", "accuracy", "balanced", "worst class", "macro F1", "seeds"}
    assert [head.name for head in table.heads if head.name not in fixed] == heads


@pytest.mark.parametrize("known", [True, False])
def test_agreement_with_the_teacher_is_nothing_against_the_truth(known: bool) -> None:
    made = comparison.compare(made_up.recorded()) if known else changed(lambda result: result.pop("fit"))
    tables = {table.title: [head.name for head in table.heads] for table in sections.methods(made).tables}
    assert ("Against the truth" in tables) == known
    assert tables["Agreement with the teacher"] == ["method", "on the test set", "seeds"]
    notes = [table.note for table in sections.methods(made).tables if table.title == "Against the truth"]
    assert [note.startswith("Memorised: wrong training labels") for note in notes] == [True] * known


@pytest.mark.parametrize(("fit", "warned"), [({"corrupted": 4}, True), ({"corrupted": 0}, False), (None, True)])
def test_label_noise_is_spoken_of_where_there_may_be_some(fit: dict[str, int] | None, warned: bool) -> None:
    def change(result: dict[str, Any]) -> None:
        result.pop("fit")
        if fit is not None:
            result["fit"] = {"known": 9, **fit}

    (line,) = sections.along(changed(change))
    assert line.startswith("Plain training: ")
    assert ("label noise" in line) == warned


@pytest.mark.parametrize(("seeds", "told"), [(1, "–"), (2, "–"), (4, "–"), (5, "0.0 to 0.0")])
def test_no_difference_in_few_seeds_is_no_certainty(seeds: int, told: str) -> None:
    def alike(result: dict[str, Any]) -> None:
        result["last"]["recall"] = {"cat": 1.0, "dog": 0.5 + result["cell"]["seed"] / 10, "eel": 0.1}
        result["last"]["balanced_accuracy"] = 0.5

    made = changed(alike, seeds_=seeds)
    section = sections.classes(made, sections.select_examples(made), Files(None))
    assert section is not None
    rows = [[cell.text for cell in row.cells] for row in section.hidden[0].rows]
    assert [(row[5], row[6]) for row in rows] == [("0.0", told)] * 3
    verdicts = sections.verdicts(made, trust=False)
    assert verdicts is not None
    assert verdicts.tables[0].rows[0].cells[2].text == told
    if seeds == 1:
        assert rows[0][7] == "–"
        assert [cell.text for cell in verdicts.tables[0].rows[0].cells[4:6]] == ["–", "–"]
        assert "interval" not in section.pictures[0].caption


def luminance(colour: tuple[float, ...]) -> float:
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_text_stands_out_by_day_and_by_night() -> None:
    style = (page.TEMPLATES / "style.css").read_text()
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
        for code in (charts.BETTER, charts.WORSE):  # a cell of a matrix at its strongest, with ink on it
            full = tuple(int(code[n : n + 2], 16) / 255 for n in (1, 3, 5))
            cell = tuple(0.75 * c + 0.25 * p for c, p in zip(full, shades["paper"], strict=True))
            assert contrast(shades["ink"], cell) >= 4.5, code


def test_a_command_can_be_typed_again() -> None:
    given = made_up.card(("baseline",), 2, ("a",), scenario="noise0.4", data_dir="my data", augment=False)["given"]
    assert sections.command(given) == (
        "robustkd run --scenario noise0.4 --data-dir 'my data' --methods baseline --seeds 2 --no-augment"
    )


def test_mlflow_and_files_give_the_same_tables(tmp_path: Path) -> None:
    place = made_up.folder(tmp_path, seeds_=1)
    record = comparison.load_record(place)
    there, gone = comparison.compare(record), comparison.compare(Recorded(*record[:3]))
    assert sections.methods(there) == sections.methods(gone)
    assert sections.verdicts(gone, False).tables == sections.verdicts(there, False).tables  # type: ignore[union-attr]
    assert Files.of(gone).counts is None
    assert Files.of(there).counts is not None
