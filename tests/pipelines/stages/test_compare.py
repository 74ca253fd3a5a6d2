"""Pages and files of made-up studies, by hand.

After a change of the page, look at what it makes of the two studies and write that down: python -m tests.pipelines.test_compare
"""

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from pipelines import cli
from pipelines.cli_options import StudySelection
from pipelines.report import sections, summary
from pipelines.report import text as tables
from pipelines.stages import compare
from robustkd.study import comparison
from robustkd.study.comparison import Comparison, Recorded
from robustkd.study.run import WATCHED

GOLDEN = Path(__file__).parent / "golden"
CLASSES = ("süß & 50 %", "a_b | <script>", "$x$, y")
METHODS = ("baseline", "hinton", "dml", "baseline+balanced", "hinton+balanced")
GAINS = {"hinton": 0.02, "dml": 0.0, "baseline+balanced": -0.03, "hinton+balanced": -0.01}
# What each seed adds to each class's recall; its own numbers, so that no generator of numbers is asked.
WOBBLE = ((0.00, 0.01, -0.02), (0.03, -0.01, 0.01), (-0.02, 0.02, 0.00), (0.01, 0.00, 0.03), (-0.01, -0.02, 0.02))


def figures(recall: dict[str, float | None], rows: int = 40) -> dict[str, Any]:
    """What a net's measurement holds, of these recalls."""
    known = [value for value in recall.values() if value is not None]
    return {
        "accuracy": float(np.mean(known)),
        "balanced_accuracy": float(np.mean(known)),
        "worst_recall": min(known),
        "worst_three": float(np.mean(sorted(known)[:3])),
        "macro_f1": float(np.mean(known)) - 0.01,
        "nll": 2 * (1 - min(known)),
        "brier": 1 - float(np.mean(known)),
        "ece": 0.04,
        "recall": recall,
        "support": {name: 0 if value is None else rows for name, value in recall.items()},
    }


def cell(
    method: str, seed: int, classes: tuple[str, ...] = CLASSES, role: str = "student", **further: Any
) -> dict[str, Any]:
    """A run's result: recalls from 0.9 down, moved by seed, class and method."""
    gain = GAINS.get(method, 0.0) + 0.001 * (seed if method == "hinton" else 0)
    numbers = {name: 0.9 - 0.1 * (n % 4) + WOBBLE[seed % 5][n % 3] + gain for n, name in enumerate(classes)}
    last = {**figures(dict(numbers)), "scaled": {"temperature": 1.5, "nll": 0.3, "ece": 0.02}}
    made = {
        "cell": {"role": role, "method": method, "seed": seed},
        "name": f"{'teacher' if role == 'teacher' else method}-seed{seed}",
        "last": last,
        "cost": {"parameters": 83466, "macs": 12_345_678, "images": 38880, "seconds": 8.25 + seed, "peak_memory": 2e8},
        **further,
    }
    if method.startswith("baseline") and role == "student":
        made["early"] = figures({name: value - 0.05 for name, value in numbers.items()})
    return made


def card(**changes: Any) -> dict[str, Any]:
    given = {"scenario": "noise0.4", "dataset": "toy", "teacher": "wrn_16_2", "teacher_criterion": "ce"}
    made = {"methods": [*METHODS], "seeds": 5, "given": given, "dataset": "toy", "classes": list(CLASSES)}
    return {**made, "truth_known": True, "known_training": [100, 100], "known_test": [120, 120], **changes}


def known() -> Recorded:
    """Five seeds of two baselines and what is compared with them, on labels that are known."""
    fit = {"memorised": 0.05, "recovered": 0.9, "clean_fit": 0.97, "loss_auroc": 0.98}
    results = [cell("baseline+ce", seed, role="teacher") for seed in range(5)]
    results += [
        cell(method, seed, fit={**fit, "memorised": 0.05 + 0.01 * seed}, agreement={"test": 0.95, "corrupted": None})
        for method in METHODS
        for seed in range(5)
    ]
    results[-1]["robust"] = {"fgsm 8/255": {"accuracy": 0.25}}
    epochs = pd.DataFrame({"epoch": range(1, 9), "accuracy": [0.5 + 0.05 * n for n in range(1, 9)]})
    return Recorded(card(), results, {f"baseline-seed{seed}": epochs for seed in range(5)})


def as_given() -> Recorded:
    """Two seeds, of which one lacks its pair, on labels as given; a class without a test row."""
    results = []
    for method, seed in (("baseline", 0), ("baseline", 1), ("hinton", 0)):
        made = cell(method, seed)
        made["last"] = figures({**made["last"]["recall"], CLASSES[1]: None})
        made["clean"] = {
            "rows": 7,
            **figures({CLASSES[0]: 0.5 + 0.25 * (method == "hinton"), CLASSES[1]: None, CLASSES[2]: 1.0}, 3),
        }
        results.append(made)
    study = card(methods=["baseline", "hinton"], seeds=2, truth_known=False, known_test=[7, 80], known_training=[0, 90])
    return Recorded(study, results, {})


def many() -> Recorded:
    """A hundred classes, thirty methods with long names."""
    classes = tuple(f"class {n}" for n in range(100))
    methods = ["baseline", *(f"hinton(alpha=0.{n:02}, temperature=2)+balanced" for n in range(30))]
    results = [cell(method, seed, classes) for method in methods for seed in range(5)]
    for result in results:
        for number, name in enumerate(classes[:50]):  # these differ, the more the higher their number
            if result["cell"]["method"] != "baseline":
                result["last"]["recall"][name] += 0.001 * number
    return Recorded(card(methods=methods, classes=list(classes)), results, {})


GOLDENS = {"known": known, "as-given": as_given}


def shown(record: Recorded) -> list[Any]:
    return summary.of_study(comparison.compare(record))


# The page


@pytest.mark.parametrize("name", GOLDENS)
def test_the_page_is_what_was_looked_at(name: str) -> None:
    assert tables.text(shown(GOLDENS[name]())) == (GOLDEN / f"compare-{name}.txt").read_text(encoding="utf-8"), __doc__


def test_a_page_is_no_wider_than_a_file_is() -> None:
    for record in (known(), as_given(), many()):
        grids = [part for part in shown(record) if isinstance(part, tables.Grid)]
        lines = tables.text(grids).splitlines()
        assert max(map(len, lines)) <= tables.WIDTH
        assert "…" not in "".join(lines), "nothing is cut off"


def test_what_is_unsure_is_said_first_and_the_answer_last() -> None:
    parts = shown(as_given())
    assert parts[0] == "test labels as given; the clean part is 7 of 80 rows with a clean label"
    assert parts[-2:] == [*comparison.answer(comparison.compare(as_given()))]
    assert parts[-1].startswith("No verdict, because the test labels are as given")
    assert "withheld" in tables.text(parts)
    assert "withheld" not in tables.text(summary.of_study(comparison.compare(as_given(), True), True))


def test_of_many_methods_and_classes_the_page_shows_some_and_says_which() -> None:
    made = comparison.compare(many())
    text = " ".join(tables.text(summary.of_study(made)).split())
    assert (
        "Shown: the 6 of 30 methods with the highest balanced accuracy; the 40 of 100 classes in which they differ most"
        in text
    )
    _, columns, classes, _ = summary._chosen(made)
    assert [column.endswith(" - baseline") for column in columns] == [False] + [True] * 6
    assert classes == [f"class {n}" for n in range(10, 50)], "those that differ most, in their own order"
    assert made.per_class.shape == (100, 31)


def test_a_class_that_nobody_tested_and_a_figure_that_nobody_measured_are_dashes() -> None:
    made = comparison.compare(as_given())
    (grid,) = (
        part for part in summary.of_study(made) if isinstance(part, tables.Grid) and part.title.startswith("recall")
    )
    assert list(grid.rows[1]) == [CLASSES[1], "-", "-"]
    overall = summary.gets_right(comparison.compare(known()))[0]
    assert isinstance(overall, tables.Grid)
    assert "worst three" not in overall.heads, "of three classes that is the balanced accuracy"


def test_where_three_seeds_did_not_differ_no_interval_claims_to_be_sure() -> None:
    results = [cell(method, seed) for method in ("baseline", "dml") for seed in range(3)]
    made = comparison.compare(Recorded(card(methods=["baseline", "dml"], seeds=3), results, {}))
    text = tables.text(summary.of_study(made))
    assert re.search(r"dml +baseline +0\.0 +- +", text)
    assert "[0.0, 0.0]" not in text


def test_corruptions_that_are_not_defined_are_said_to_be() -> None:
    record = known()
    record.results[0]["corruptions"] = {}
    text = " ".join(tables.text(shown(record)).split())
    assert (
        "corrupted test images: not defined for images of this shape, only from 32x32 up, in grey or in colour" in text
    )
    assert "corrupted test images" not in tables.text(shown(known()))


def test_a_study_of_an_earlier_version_shows_what_it_has() -> None:
    record = as_given()
    for result in record.results:
        for name in ("nll", "brier", "ece", "worst_three", "macro_f1"):
            del result["last"][name], result["clean"][name]
        del result["cost"]
        del result["early" if "early" in result else "name"]
    for name in ("known_training", "known_test"):
        del record.study[name]
    text = tables.text(shown(Recorded(record.study, [{"name": "x", **r} for r in record.results], {})))
    assert "balanced accuracy" in text
    assert "test labels as given: nobody has said that they are clean" in text
    for word in ("NLL", "macro F1", "what a run costs", "stopped early"):
        assert word not in text


@pytest.mark.parametrize("seeds", [0, 1])
def test_a_study_that_has_hardly_begun_has_a_page(seeds: int, tmp_path: Path) -> None:
    results = [cell(method, seed) for method in ("baseline", "hinton") for seed in range(seeds)]
    made = comparison.compare(Recorded(card(methods=["baseline", "hinton"]), results, {}))
    compare._write(made, tmp_path / "comparison", None)
    text = (tmp_path / "comparison" / "comparison.txt").read_text()
    assert ("too few seeds" if seeds else "No run is finished yet.") in text


def test_without_a_baseline_recalls_are_shown() -> None:
    record = known()
    made = comparison.compare(record._replace(study={**record.study, "methods": ["hinton", "dml"]}))
    text = tables.text(summary.of_study(made))
    assert re.search(r"class +hinton recall +dml recall", text)
    assert "There is nothing to compare" in text


# Files


def test_tables_in_files_are_the_frames(tmp_path: Path) -> None:
    made = comparison.compare(as_given())
    compare._write(made, tmp_path / "comparison", None)
    written = {path.name for path in (tmp_path / "comparison").iterdir()}
    frames = {"summary", "verdicts", "classes", "per_class", "per_class_clean", "costs"}
    assert {*compare.FRAMES} == {*frames, "along"}
    assert {*compare.STACKED} <= {*compare.FRAMES}
    assert {f"{name}.csv" for name in frames} | {f"comparison.{x}" for x in ("txt", "md", "tex")} <= written
    for name, frame in compare.frames_of(made).items():
        index = 0 if frame.index.name else None
        back = pd.read_csv(tmp_path / "comparison" / f"{name}.csv", index_col=index)
        pd.testing.assert_frame_equal(back, frame, check_dtype=False, check_exact=True)
    compare._write(comparison.compare(known()), tmp_path / "comparison", None)
    assert not (tmp_path / "comparison" / "per_class_clean.csv").exists(), "it was another study's"


def test_markdown_and_latex_tell_what_the_terminal_does() -> None:
    made = comparison.compare(known())
    parts = summary.of_study(made)
    for text, escape in ((tables.markdown(parts), tables.MARKDOWN), (tables.latex(parts), tables.LATEX)):
        for sentence in (*comparison.rule(made), *comparison.answer(made)):
            assert sentence.translate(escape) in text
        for name in (*METHODS, *CLASSES):
            assert name.translate(escape) in text
        assert "no difference shown" in text


def test_names_mean_nothing_to_markdown() -> None:
    text = tables.markdown(
        [tables.Grid("t", ["", "x"], [["a|b", "1"], ["<script>$x$_y_ & `c`", "2"]], frozenset({(1, 1)}))]
    )
    head, rule, first, second = text.strip().splitlines()[2:]
    unescaped = [re.split(r"(?<!\\)\|", row)[1:-1] for row in (head, rule, first, second)]
    assert {len(row) for row in unescaped} == {2}, "a name does not open a column"
    assert unescaped[3] == [r" \<script\>\$x\$\_y\_ \& \`c\` ", " **2** "]


def test_names_mean_nothing_to_latex() -> None:
    # TeX's own letters, then those that its first encoding would print as others, then those of ours that it lacks.
    assert tables.latex([r"süß & 50 % a_b #1 {x} ~ ^ \ $"]).splitlines()[1] == (
        r"süß \& 50 \% a\_b \#1 \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{} \$"
    )
    assert tables.latex(["<x> | 1 ± 2 ↓"]).splitlines()[1] == (
        r"\textless{}x\textgreater{} \textbar{} 1 $\pm$ 2 $\downarrow$"
    )
    text = tables.latex([tables.Grid("a & b", ["", "x & y"], [["süß & 50 %", "1"], ["[b]", "2"]], frozenset({(0, 1)}))])
    assert r"süß \& 50 \% & \textbf{1} \\" in text
    assert r"{[}b{]} & 2 \\" in text, "after a line's end a bracket would be its option"
    assert r"{*}b & 1 \\" in tables.latex([tables.Grid("t", ["", "x"], [["a", "1"], ["*b", "1"]])]), "so would a star"
    numbers = tables.latex(
        [tables.Grid("t", ["", "x", "w"], [["a-1", "-1.0 [-2.5, +0.5]", "b-2"]], words=frozenset({2}))]
    )
    assert r"a-1 & $-$1.0 {[}$-$2.5, +0.5{]} & b-2 \\" in numbers, "a minus, and hyphens in words"
    body = [
        line for line in text.splitlines() if line.endswith(r"\\") and "caption" not in line and "multi" not in line
    ]
    assert [len(re.findall(r"(?<!\\)&", line)) for line in body] == [1] * len(body)


def test_a_name_is_no_markup_on_a_terminal() -> None:
    console = Console(record=True, width=80, file=io.StringIO())
    tables.show(["[red]a", tables.Grid("[b]t", ["[i]h", "x"], [["[red]class[/red]", "[-1.0, +2.0]"]])], console)
    text = console.export_text()
    for word in ("[red]a", "[b]t", "[i]h", "[red]class[/red]", "[-1.0, +2.0]"):
        assert word in text


# Across studies


def studies(folder: Path) -> list[Path]:
    """Two studies in files, and one that --fresh put aside."""
    made = []
    for number, (scenario, shift) in enumerate((("noise0.4", 0.0), ("clean", 0.05), ("clean", 0.5))):
        record = known()
        path = folder / (f"toy-{scenario}-{number}" if number < 2 else "toy-clean-1.20240101-120000")
        study = {**record.study, "given": {**record.study["given"], "scenario": scenario}}
        for result in record.results:
            run = path / "runs" / result["name"]
            run.mkdir(parents=True)
            if result["cell"]["method"] == "dml":
                result["last"]["balanced_accuracy"] += shift
            (run / "result.json").write_text(json.dumps(result))
        (path / "study.json").write_text(json.dumps(study))
        made.append(path)
    return made


def test_a_folder_of_studies_is_set_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, aside = studies(tmp_path / "studies")
    made = compare.read(tmp_path / "studies", first, first / ".." / first.name)
    assert [m.folder for m in made] == [second, first], "by name, each once, without what was put aside"
    assert compare.read(aside)[0].folder == aside
    cli.main(["compare", str(tmp_path / "studies")])
    lines = capsys.readouterr().out.splitlines()[1:]
    assert lines[0] == "balanced accuracy, mean ± standard deviation over 5 seeds, per cent"
    (head,) = (line for line in lines if "average rank" in line)
    assert head.split() == ["clean", "noise0.4", "average", "rank"]
    rows = {line.split("  ")[0]: line for line in lines}
    assert rows["hinton"].split() == ["hinton", "⇑", "82.5", "±", "0.8", "*", "⇑", "82.5", "±", "0.8", "1.5"]
    assert "* 85.3 ± 0.8      80.3 ± 0.8" in rows["dml"], "more in clean, but no verdict says so"
    assert rows["baseline, stopped early"].count("↓ 75.3") == 2
    assert not (first / "comparison").exists(), "several are shown and left as they are"
    cli.main(["compare", str(first), str(second), "--each", "--figure", "worst_recall"])
    out = capsys.readouterr().out
    assert out.count("what the seeds show") == 2
    assert "worst class, mean ± standard deviation" in out


def test_a_notebook_gets_one_frame(tmp_path: Path) -> None:
    studies(tmp_path)
    made = compare.read(tmp_path)
    assert len(comparison.across(made).table) == 2 * (1 + 5 + 1)
    table = compare.stacked(made, "classes")
    assert table.columns[0] == "study"
    assert len(table) == 2 * 3 * 3
    assert set(compare.stacked(made, "summary")["study"]) == {"clean", "noise0.4"}
    assert compare.stacked(made, "clean").empty


def test_tables_are_written_where_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, _, _ = studies(tmp_path / "studies")
    cli.main(["compare", "studies", "--csv", "out", "--markdown", "table.md", "--latex", "table.tex"])
    assert {path.name for path in Path("out").iterdir()} == {
        f"{name}.csv" for name in ("across", "ranks", "summary", "verdicts", "classes", "costs")
    }
    assert "| dml |" in Path("table.md").read_text(encoding="utf-8")
    assert r"\textbf{$\Uparrow$ 82.5" in Path("table.tex").read_text(encoding="utf-8")
    cli.main(["compare", str(first), "--csv", "one", "--markdown", "one.md"])
    assert Path("one/per_class.csv").exists()
    assert Path("one.md").read_text() == (first / "comparison" / "comparison.md").read_text()


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    said = capsys.readouterr().err
    assert (end.value.code, said.count("\n"), said[:9]) == (2, 1, "robustkd:")
    return said


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("compare nowhere", "nowhere: there is no study here (it would hold a study.json); `robustkd run` makes one"),
        ("compare studeis", "did you mean 'studies'?"),
        ("compare empty", "empty: there is no study here"),
        ("compare --out empty", "empty: there is no study here yet"),
        ("compare broken", "broken/study.json: this file cannot be read"),
        ("compare studies --figure temperature", "a temperature is neither good nor bad"),
        ("compare studies --markdown new.md --latex ./new.md", "--latex new.md: --markdown writes there too"),
        ("compare studies --csv new --markdown new", "--markdown new: --csv writes there too"),
        ("compare studies --csv new --latex new/across.csv", "--latex new/across.csv: --csv writes there too"),
        ("compare studies --figure acuracy", "no study has this figure (did you mean 'accuracy'?)"),
        ("compare studies --csv full", "full/across.csv: it is there already"),
        ("compare studies --csv full/across.csv", "should be a folder"),
        ("compare studies --markdown full/across.csv", "--markdown full/across.csv: it is there already"),
        ("compare studies --latex no/where.tex", "there is no folder no"),
        ("compare studies --scenario clean", "by one or the other"),
        ("compare --seeds 2", "only together with --scenario"),
        ("compare --experiment mine", "--from mlflow is needed"),
        ("compare --from elsewhere", "--from"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_sentence(
    typed: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    studies(tmp_path / "studies")
    Path("empty").mkdir()
    Path("broken").mkdir()
    Path("broken/study.json").write_text("{")
    Path("full").mkdir()
    Path("full/across.csv").write_text("the user's")
    assert said in refused(typed.split(), capsys)
    assert Path("full/across.csv").read_text() == "the user's"
    assert not list(tmp_path.glob("new*"))
    assert not list(tmp_path.glob("studies/*/comparison"))


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("study.json", "[]", "'given.scenario' is missing or wrong"),
        ("study.json", '{"methods": [], "seeds": 1}', "'given.scenario' is missing or wrong"),
        ("runs/dml-seed0/result.json", "{}", "'name' is missing or wrong"),
        ("runs/dml-seed0/result.json", "[1]", "'name' is missing or wrong"),
        ("runs/dml-seed0/result.json", "last.recall", "'last.recall' is missing or wrong"),
        ("runs/dml-seed0/result.json", "cell.seed", "'cell.seed' is missing or wrong"),
        ("runs/dml-seed0/result.json", '{"name', "this file cannot be read (Unterminated string"),
    ],
)
def test_a_damaged_file_is_named_in_a_sentence(
    file: str, content: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = studies(tmp_path)[0] / file
    if "." in content:  # all of it but this key
        made = json.loads(path.read_text())
        outer, inner = content.split(".")
        del made[outer][inner]
        content = json.dumps(made)
    path.write_text(content)
    told = refused(["compare", str(tmp_path)], capsys)
    assert f"{path}: this file " in told
    assert said in told


def test_what_is_damaged_deeper_or_in_a_history_is_a_sentence_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = studies(tmp_path)[0]
    (study / "runs" / "dml-seed0" / "epochs.csv").write_text("")
    assert f"{study}: a file of this study cannot be read (EmptyDataError" in refused(["compare", str(study)], capsys)
    (study / "runs" / "dml-seed0" / "epochs.csv").unlink()
    path = study / "runs" / "baseline-seed0" / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "early": {"accuracy": 0.5}}))
    assert "cannot be read (KeyError: 'balanced_accuracy')" in refused(["compare", str(study)], capsys)


def test_what_was_asked_for_is_written_even_where_the_study_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = studies(tmp_path)[0]
    (study / "comparison").write_text("the user's")
    monkeypatch.chdir(tmp_path)
    cli.main(["compare", str(study), "--csv", "out", "--markdown", "a.md", "--latex", "a.tex"])
    out = " ".join(capsys.readouterr().out.split())
    assert f"{study}: the comparison cannot be written there (File exists)" in out
    assert "what it gets right" in out
    assert Path("out/summary.csv").exists()
    assert Path("a.md").exists()
    assert Path("a.tex").exists()
    assert (study / "comparison").read_text() == "the user's"


def test_the_newest_study_is_shown_where_none_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    monkeypatch.chdir(tmp_path)
    for age, path in enumerate(studies(tmp_path / "studies")):
        os.utime(path / "study.json", (1e9 + (age == 1), 1e9 + (age == 1)))
    cli.main(["compare"])
    assert "tables, pictures and runs: studies/toy-clean-1" in capsys.readouterr().out
    assert compare.find([], "files", StudySelection(out="studies")) == [Path("studies/toy-clean-1")]


def test_test_labels_are_trusted_as_the_study_was_told_unless_said_now() -> None:
    told = {"given": {"trust_test_labels": True}}
    assert comparison.trusted(told)
    assert not comparison.trusted(told, False)
    assert comparison.trusted({"given": {}}, True)
    assert not comparison.trusted({"given": {}})


def test_where_less_is_better_the_least_is_best() -> None:
    made: list[Comparison] = [comparison.compare(known())]
    assert summary.known(made, "worst-recall") == "worst_recall"
    assert summary.known(made, "nll") == "nll"
    table, ranks = comparison.across(made, "nll")
    best = table.set_index("method")["best"]
    assert best[best].index.tolist() == ["hinton"], "0.540 is the least of those that a run ships"
    assert ranks.loc["hinton", "rank"] == 1
    assert table.set_index("method")["below"].to_dict()["hinton"] is False


def one_grid(figure: str, *made: Comparison) -> tables.Grid:
    (grid,) = (part for part in summary.across(made, figure) if isinstance(part, tables.Grid))
    return grid


def test_only_shares_are_told_in_per_cent_in_title_and_cells_alike() -> None:
    record = as_given()
    for result in record.results:
        result["last"]["scaled"] = {"temperature": 1.5, "nll": 0.3, "ece": 0.02}
    made = comparison.compare(record)
    for figure, title, cell_ in (
        ("nll_scaled", "NLL after one temperature, mean", "0.300 ± 0.000"),
        ("clean_nll", "NLL, clean part, mean", "1.000 ± 0.000"),
        ("clean_brier", "Brier, clean part, mean", "0.250 ± 0.000"),
        ("ece_scaled", "ECE after one temperature, mean", "2.0 ± 0.0"),
        ("clean_accuracy", "clean part, mean", "75.0 ± 0.0"),
    ):
        grid = one_grid(figure, made)
        assert grid.title.startswith(title)
        assert grid.title.endswith(", per cent") == (figure in ("ece_scaled", "clean_accuracy"))
        rows = {row[0]: row[1] for row in grid.rows}
        assert rows["baseline"] == cell_, figure


def test_ranks_are_among_the_methods_that_every_study_has_whole() -> None:
    whole, part = known(), known()
    part = part._replace(results=[r for r in part.results if r["cell"]["method"] not in ("dml", "hinton+balanced")])
    pages = {}
    for name, made in (("part", part), ("nothing", part._replace(results=part.results[:10]))):
        pages[name] = summary.across([comparison.compare(whole), comparison.compare(made)])
    rows = {row[0]: row[-1] for page_ in pages["part"] if isinstance(page_, tables.Grid) for row in page_.rows}
    assert rows == {
        **{"teacher": "-", "baseline, stopped early": "-", "dml": "-", "hinton+balanced": "-"},
        **{"hinton": "1.0", "baseline": "2.0", "baseline+balanced": "3.0"},
    }
    assert "Ranks, 1 the best, are among the 3 methods that every study has with all its seeds." in pages["part"]
    assert "No ranks: there are not two methods that every study has with all its seeds." in pages["nothing"]


def test_a_given_teacher_is_named_by_its_file_alone() -> None:
    record = known()
    told = {
        "/home/me/nets/best.pt": "best.pt",
        r"C:\nets\best.pt": "best.pt",
        "nets/best": "best",
        "best.pt": "best.pt",
        "runs:/0123/model": "runs:/0123/model",
        "0" * 32: "0" * 32,
    }
    for text, name in told.items():
        given = {**record.study["given"], "teacher": text}
        assert summary.teacher(given) == f"teacher (given: {name})"
        assert vars(sections)["teacher"] is summary.teacher, "the report says the same"
    assert summary.teacher({"teacher": "net(file=a/b)", "teacher_criterion": "ce"}) == "teacher (net(file=a/b), ce)"
    assert summary.teacher({}) == "teacher"
    record.study["given"]["teacher"] = "/home/me/nets/best.pt"
    text = tables.text(shown(record))
    assert "/home" not in text
    assert text.count("teacher (given: best.pt)") == 3


def test_accuracy_along_the_run_says_on_how_many_rows_it_was_taken() -> None:
    assert summary.WATCHED == WATCHED
    for rows, said in ((2000, "(test accuracy)"), (2001, "(test accuracy on 2,000 fixed test rows)")):
        record = known()
        record.study["resolved"] = {"rows_test": rows}
        assert f"plain training along the run {said}: epoch 2" in " ".join(tables.text(shown(record)).split())


def test_bootstrap_intervals_are_shown_where_there_are_any() -> None:
    few = known()
    results = [cell(method, seed) for method in ("baseline", "hinton") for seed in range(10)]
    many_ = Recorded(card(methods=["baseline", "hinton"], seeds=10), results, {})
    for record, there in ((few, False), (many_, True)):
        made = comparison.compare(record)
        (grid,) = (
            p for p in summary.of_study(made) if isinstance(p, tables.Grid) and p.title.startswith("what the seeds")
        )
        assert ("bootstrap" in grid.heads) == there
        cells = dict(zip(grid.heads, grid.rows[0], strict=True))
        assert cells["verdict"] == "better"
        assert [grid.heads[column] for column in sorted(grid.words)] == ["reference", "verdict"]
        if there:
            row = made.verdicts.loc["hinton"]
            assert cells["bootstrap"] == f"[{100 * row['boot_low']:+.1f}, {100 * row['boot_high']:+.1f}]"


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name, record in GOLDENS.items():
        (GOLDEN / f"compare-{name}.txt").write_text(tables.text(shown(record())), encoding="utf-8")
