"""The page and files of made-up studies, checked by hand.

After a change of the page, check the pages of the golden studies and write them: python -m tests.pipelines.stages.test_compare
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines import cli
from pipelines.cli_options import StudySelection
from pipelines.report.class_tables import select_class_columns
from pipelines.report.metric_tables import performance_table
from pipelines.report.renderers.latex import escape_latex, render_latex
from pipelines.report.renderers.markdown import escape_markdown, render_markdown
from pipelines.report.renderers.terminal import PAGE_WIDTH, render_text
from pipelines.report.row_labels import describe_teacher
from pipelines.report.study_table import find_ranked_metric, summarise_studies
from pipelines.report.summary import summarise_study
from pipelines.report.table import Table
from pipelines.stages import compare
from robustkd.evaluation.results import AttackMetrics, FitMetrics, NetMetrics, TemperatureScaling
from robustkd.study import comparison, results
from robustkd.study.across import compare_studies
from robustkd.study.comparison import Comparison
from robustkd.study.conclusions import question_and_answer, trusts_test_labels, verdict_rule
from robustkd.study.options import StudyOptions
from robustkd.study.results import LoadedStudy, RunResult, StudyRecord, write_document
from tests.records import change_results, make_cost, make_net, make_record, make_result, make_training

GOLDEN = Path(__file__).parent / "golden"
CLASSES = ("süß & 50 %", "a_b | <script>", "$x$, y")
METHODS = ("baseline", "hinton", "dml", "baseline+balanced", "hinton+balanced")
GAINS = {"hinton": 0.02, "dml": 0.0, "baseline+balanced": -0.03, "hinton+balanced": -0.01}
# Added to the recall of each class, by seed; fixed numbers, so that no random generator is needed.
WOBBLE = ((0.00, 0.01, -0.02), (0.03, -0.01, 0.01), (-0.02, 0.02, 0.00), (0.01, 0.00, 0.03), (-0.01, -0.02, 0.02))
SCALED = TemperatureScaling(temperature=1.5, nll=0.3, ece=0.02)


def net_with_recalls(recall: Mapping[str, float | None], rows: int = 40, **fields: Any) -> NetMetrics:
    """A network with these recalls, and other metrics that follow from them; a class without a recall has no rows."""
    known = [value for value in recall.values() if value is not None]
    return make_net(
        recall,
        [0 if value is None else rows for value in recall.values()],
        accuracy=float(np.mean(known)),
        balanced_accuracy=float(np.mean(known)),
        worst_three=float(np.mean(sorted(known)[:3])),
        macro_f1=float(np.mean(known)) - 0.01,
        nll=2 * (1 - min(known)),
        brier=1 - float(np.mean(known)),
        ece=0.04,
        **fields,
    )


def result(method: str, seed: int, classes: Sequence[str] = CLASSES, role: str = "student", **fields: Any) -> RunResult:
    """A run's result: recalls from 0.9 down, changed by seed, class and method."""
    gain = GAINS.get(method, 0.0) + 0.001 * (seed if method == "hinton" else 0)
    recall = {name: 0.9 - 0.1 * (n % 4) + WOBBLE[seed % 5][n % 3] + gain for n, name in enumerate(classes)}
    if method.startswith("baseline") and role == "student":
        fields["early"] = net_with_recalls({name: value - 0.05 for name, value in recall.items()})
    cost = make_cost(
        parameters=83466,
        macs=12_345_678,
        images=38880,
        seconds=8.25 + seed,
        teacher_seconds=12.5 if method.startswith("hinton") else 0.0,
        peak_memory=200_000_000,
    )
    values = {"name": results.run_name(role, method, seed), "cost": cost, "training": make_training(), **fields}
    return make_result(role, method, seed, net_with_recalls(recall, scaled=SCALED), **values)


def record(
    methods: Sequence[str] = METHODS, seeds: int = 5, options: Mapping[str, Any] | None = None, **fields: Any
) -> StudyRecord:
    """The record of a study of a toy data set with three classes."""
    values = {"dataset": "toy", "classes": list(CLASSES), "known_training": (100, 100), "known_test": (120, 120)}
    return make_record(methods, seeds, {"dataset": "toy", **(options or {})}, **{**values, **fields})


def known() -> LoadedStudy:
    """Five seeds of two baselines and what is compared with them, on labels that are known to be right."""
    runs = [result("baseline+ce", seed, role="teacher") for seed in range(5)]
    for method in METHODS:
        for seed in range(5):
            metrics = {"memorised": 0.05 + 0.01 * seed, "recovered": 0.9, "clean_fit": 0.97, "loss_auroc": 0.98}
            fit = FitMetrics(known=100, corrupted=40, foreign=0, metrics=metrics)
            runs.append(result(method, seed, fit=fit, agreement={"test": 0.95, "corrupted": None}))
    attacked = AttackMetrics(attack="fgsm", accuracy=0.25, balanced_accuracy=0.25, recall={})
    runs[-1] = runs[-1].model_copy(update={"robust": {"fgsm 8/255": attacked}})
    epochs = pd.DataFrame({"epoch": range(1, 9), "accuracy": [0.5 + 0.05 * n for n in range(1, 9)]})
    return LoadedStudy(record(), runs, {f"baseline-seed{seed}": epochs for seed in range(5)})


def as_given() -> LoadedStudy:
    """Two seeds, one without its pair, with test labels as given; one class has no test rows."""
    runs = []
    for method, seed in (("baseline", 0), ("baseline", 1), ("hinton", 0)):
        run = result(method, seed)
        clean = {CLASSES[0]: 0.5 + 0.25 * (method == "hinton"), CLASSES[1]: None, CLASSES[2]: 1.0}
        changes = {
            "last": net_with_recalls({**run.last.recall, CLASSES[1]: None}),
            "clean": net_with_recalls(clean, rows=3),
        }
        runs.append(run.model_copy(update=changes))
    changed = {"truth_known": False, "known_test": (7, 80), "known_training": (0, 90)}
    return LoadedStudy(record(["baseline", "hinton"], 2, **changed), runs, {})


def many() -> LoadedStudy:
    """A hundred classes, and thirty methods with long names."""
    classes = [f"class {n}" for n in range(100)]
    methods = ["baseline", *(f"hinton(alpha=0.{n:02}, temperature=2)+balanced" for n in range(30))]

    def change(run: RunResult) -> dict[str, Any]:
        if run.run.method == "baseline":
            return {}
        # The first fifty classes differ, the more the higher their number.
        recall = {name: value + 0.001 * n * (n < 50) for n, (name, value) in enumerate(run.last.recall.items())}
        return {"last": run.last.model_copy(update={"recall": recall})}

    runs = [result(method, seed, classes) for method in methods for seed in range(5)]
    return change_results(LoadedStudy(record(methods, classes=classes), runs, {}), change)


GOLDENS = {"known": known, "as-given": as_given}


def page(study: LoadedStudy) -> list[Any]:
    """The page of a study."""
    return summarise_study(comparison.compare(study))


# The page


@pytest.mark.parametrize("name", GOLDENS)
def test_the_page_is_the_golden_one(name: str) -> None:
    assert render_text(page(GOLDENS[name]())) == (GOLDEN / f"compare-{name}.txt").read_text(encoding="utf-8"), __doc__


def test_a_page_in_a_file_is_110_columns_wide_at_most() -> None:
    for study in (known(), as_given(), many()):
        grids = [part for part in page(study) if isinstance(part, Table)]
        lines = render_text(grids).splitlines()
        assert max(map(len, lines)) <= PAGE_WIDTH
        assert "…" not in "".join(lines), "nothing is cut off"


def test_caveats_come_first_and_the_answer_last() -> None:
    parts = page(as_given())
    assert parts[0] == "test labels as given; the clean part is 7 of 80 rows with a clean label"
    assert parts[-2:] == [*question_and_answer(comparison.compare(as_given()))]
    assert parts[-1].startswith("No verdict, because the test labels are as given")
    assert "withheld" in render_text(parts)
    assert "withheld" not in render_text(summarise_study(comparison.compare(as_given(), True), True))


def test_of_many_methods_and_classes_the_page_names_those_it_shows() -> None:
    compared = comparison.compare(many())
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
    compared = comparison.compare(as_given())
    (grid,) = (
        part for part in summarise_study(compared) if isinstance(part, Table) and part.title.startswith("recall")
    )
    assert [cell.text for cell in grid.rows[1].cells] == [CLASSES[1], "-", "-"]
    overall = performance_table(comparison.compare(known()))
    assert overall is not None
    assert "worst three" not in [column.title for column in overall.columns], (
        "of three classes that is the balanced accuracy"
    )


def test_identical_results_of_three_seeds_have_no_interval() -> None:
    runs = [result(method, seed) for method in ("baseline", "dml") for seed in range(3)]
    text = render_text(page(LoadedStudy(record(["baseline", "dml"], 3), runs, {})))
    assert re.search(r"dml +baseline +0\.0 +- +", text)
    assert "[0.0, 0.0]" not in text


def test_undefined_corruptions_are_reported() -> None:
    study = known()
    runs = [study.results[0].model_copy(update={"corruptions": {}}), *study.results[1:]]
    text = " ".join(render_text(page(study._replace(results=runs))).split())
    assert (
        "corrupted test images: not defined for images of this shape, only from 32x32 up, in grey or in colour" in text
    )
    assert "corrupted test images" not in render_text(page(known()))


@pytest.mark.parametrize("seeds", [0, 1])
def test_a_study_that_has_just_begun_has_a_page(seeds: int, tmp_path: Path) -> None:
    runs = [result(method, seed) for method in ("baseline", "hinton") for seed in range(seeds)]
    compared = comparison.compare(LoadedStudy(record(["baseline", "hinton"]), runs, {}))
    compare.write_comparison_files(compared, tmp_path / "comparison", None)
    text = (tmp_path / "comparison" / "comparison.txt").read_text()
    assert ("too few seeds" if seeds else "No run is finished yet.") in text


def test_without_a_baseline_recalls_are_shown() -> None:
    text = render_text(page(known()._replace(record=record(["hinton", "dml"]))))
    assert re.search(r"class +hinton recall +dml recall", text)
    assert "There is nothing to compare" in text


# Files


def test_csv_files_hold_the_tables(tmp_path: Path) -> None:
    compared = comparison.compare(as_given())
    compare.write_comparison_files(compared, tmp_path / "comparison", None)
    written = {path.name for path in (tmp_path / "comparison").iterdir()}
    frames = {"summary", "verdicts", "classes", "per_class", "per_class_clean", "costs"}
    assert {*compare.COMPARISON_TABLES} == {*frames, "along"}
    assert {*compare.CONCATENATED} <= {*compare.COMPARISON_TABLES}
    assert {f"{name}.csv" for name in frames} | {f"comparison.{x}" for x in ("txt", "md", "tex")} <= written
    for name, frame in compare.collect_tables(compared).items():
        index = 0 if frame.index.name else None
        back = pd.read_csv(tmp_path / "comparison" / f"{name}.csv", index_col=index)
        pd.testing.assert_frame_equal(back, frame, check_dtype=False, check_exact=True)
    compare.write_comparison_files(comparison.compare(known()), tmp_path / "comparison", None)
    assert not (tmp_path / "comparison" / "per_class_clean.csv").exists(), (
        "the file is of a study that is no longer there"
    )


def test_markdown_and_latex_have_the_content_of_the_terminal() -> None:
    compared = comparison.compare(known())
    parts = summarise_study(compared)
    for text, escape in ((render_markdown(parts), escape_markdown), (render_latex(parts), escape_latex)):
        for sentence in (*verdict_rule(compared), *question_and_answer(compared)):
            assert escape(sentence) in text
        for name in (*METHODS, *CLASSES):
            assert escape(name) in text
        assert "no difference shown" in text


# Across studies


def write_study(study: LoadedStudy, folder: Path) -> Path:
    """Write a study's record and results."""
    for run in study.results:
        (folder / "runs" / run.name).mkdir(parents=True)
        write_document(folder / "runs" / run.name / "result.json", run)
    write_document(folder / "study.json", study.record)
    return folder


def write_studies(folder: Path) -> list[Path]:
    """Write two studies, and one that --fresh put aside."""

    def study(scenario: str, shift: float) -> LoadedStudy:
        def change(run: RunResult) -> dict[str, Any]:
            if run.run.method != "dml":
                return {}
            metrics = {**run.last.metrics, "balanced_accuracy": (run.last.metrics["balanced_accuracy"] or 0.0) + shift}
            return {"last": run.last.model_copy(update={"metrics": metrics})}

        return change_results(known(), change)._replace(record=record(options={"scenario": scenario}))

    return [
        write_study(study(scenario, shift), folder / name)
        for name, scenario, shift in (
            ("toy-noise0.4-0", "noise0.4", 0.0),
            ("toy-clean-1", "clean", 0.05),
            ("toy-clean-1.20240101-120000", "clean", 0.5),
        )
    ]


def test_the_studies_of_a_folder_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, aside = write_studies(tmp_path / "studies")
    comparisons = compare.load_comparisons(tmp_path / "studies", first, first / ".." / first.name)
    assert [each.folder for each in comparisons] == [second, first], "by name, each once, without the one put aside"
    assert compare.load_comparisons(aside)[0].folder == aside
    cli.main(["compare", str(tmp_path / "studies")])
    lines = capsys.readouterr().out.splitlines()[1:]
    assert lines[0] == "balanced accuracy, mean ± standard deviation over 5 seeds, per cent"
    (head,) = (line for line in lines if "average rank" in line)
    assert head.split() == ["method", "clean", "noise0.4", "average", "rank"]
    rows = {line.split("  ")[0]: line for line in lines}
    assert rows["hinton"].split() == ["hinton", "⇑", "82.5", "±", "0.8", "*", "⇑", "82.5", "±", "0.8", "1.50"]
    assert "* 85.3 ± 0.8      80.3 ± 0.8" in rows["dml"], "more in clean, but no verdict says so"
    assert rows["baseline, stopped early"].count("↓ 75.3") == 2
    assert not (first / "comparison").exists(), "several are shown and left as they are"
    cli.main(["compare", str(first), str(second), "--each", "--figure", "worst_recall"])
    out = capsys.readouterr().out
    assert out.count("what the seeds show") == 2
    assert "worst class, mean ± standard deviation" in out


def test_a_notebook_gets_one_frame(tmp_path: Path) -> None:
    write_studies(tmp_path)
    comparisons = compare.load_comparisons(tmp_path)
    assert len(compare_studies(comparisons).table) == 2 * (1 + 5 + 1)
    table = compare.concat_tables(comparisons, "classes")
    assert table.columns[0] == "study"
    assert len(table) == 2 * 3 * 3
    assert set(compare.concat_tables(comparisons, "summary")["study"]) == {"clean", "noise0.4"}
    assert compare.concat_tables(comparisons, "per_class_clean").empty


def test_tables_are_written_where_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, _, _ = write_studies(tmp_path / "studies")
    cli.main(["compare", "studies", "--csv", "out", "--markdown", "table.md", "--latex", "table.tex"])
    assert {path.name for path in Path("out").iterdir()} == {
        f"{name}.csv" for name in ("across", "ranks", "summary", "verdicts", "classes", "costs")
    }
    assert "| dml |" in Path("table.md").read_text(encoding="utf-8")
    assert r"\textbf{$\Uparrow$ 82.5" in Path("table.tex").read_text(encoding="utf-8")
    cli.main(["compare", str(first), "--csv", "one", "--markdown", "one.md"])
    assert Path("one/per_class.csv").exists()
    assert Path("one.md").read_text() == (first / "comparison" / "comparison.md").read_text()


def error_message(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line with which a command is refused."""
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    message = capsys.readouterr().err
    assert (end.value.code, message.count("\n"), message[:9]) == (2, 1, "robustkd:")
    return message


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("compare nowhere", "nowhere: there is no study here (no study.json); `robustkd run` makes one"),
        ("compare studeis", "did you mean 'studies'?"),
        ("compare empty", "empty: there is no study here"),
        ("compare --out empty", "empty: there is no study here yet"),
        ("compare broken", "broken/study.json: this file cannot be read"),
        ("compare studies --figure temperature", "a temperature is neither good nor bad"),
        ("compare studies --markdown new.md --latex ./new.md", "--latex new.md: --markdown writes there too"),
        ("compare studies --csv new --markdown new", "--markdown new: --csv writes there too"),
        ("compare studies --csv new --latex new/across.csv", "--latex new/across.csv: --csv writes there too"),
        ("compare studies --figure acuracy", "no study has this figure (did you mean 'accuracy'?)"),
        ("compare studies --csv full", "full/across.csv: this file exists already"),
        ("compare studies --csv full/across.csv", "should be a folder"),
        ("compare studies --markdown full/across.csv", "--markdown full/across.csv: this file exists already"),
        ("compare studies --latex no/where.tex", "there is no folder no"),
        ("compare studies --scenario clean", "by one or the other"),
        ("compare --seeds 2", "only together with --scenario"),
        ("compare --experiment mine", "--from mlflow is needed"),
        ("compare --from elsewhere", "--from"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_sentence(
    typed: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_studies(tmp_path / "studies")
    Path("empty").mkdir()
    Path("broken").mkdir()
    Path("broken/study.json").write_text("{")
    Path("full").mkdir()
    Path("full/across.csv").write_text("the user's")
    assert message in error_message(typed.split(), capsys)
    assert Path("full/across.csv").read_text() == "the user's"
    assert not list(tmp_path.glob("new*"))
    assert not list(tmp_path.glob("studies/*/comparison"))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("study.json", "[]", "'content' is missing or wrong"),
        ("study.json", '{"format": 2, "methods": [], "seeds": 1}', "'criteria' is missing or wrong"),
        ("study.json", "options.scenario", "'options.scenario' is missing or wrong"),
        ("runs/dml-seed0/result.json", '{"format": 2}', "'run' is missing or wrong"),
        ("runs/dml-seed0/result.json", "[1]", "'content' is missing or wrong"),
        ("runs/dml-seed0/result.json", "last.recall", "'last.recall' is missing or wrong"),
        ("runs/dml-seed0/result.json", "run.seed", "'run.seed' is missing or wrong"),
        ("runs/dml-seed0/result.json", '{"name', "this file cannot be read (Unterminated string"),
    ],
)
def test_a_damaged_file_is_named_in_one_sentence(
    file: str, content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_studies(tmp_path)[0] / file
    if "." in content:  # all of it except this key
        document = json.loads(path.read_text())
        outer, inner = content.split(".")
        del document[outer][inner]
        content = json.dumps(document)
    path.write_text(content)
    error = error_message(["compare", str(tmp_path)], capsys)
    assert f"{path}: this file " in error
    assert message in error


@pytest.mark.parametrize("file", ["study.json", "runs/dml-seed0/result.json"])
@pytest.mark.parametrize("version", [1, None])
def test_a_study_of_an_earlier_format_is_refused_in_one_sentence(
    file: str, version: int | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_studies(tmp_path)[0] / file
    document = json.loads(path.read_text())
    del document["format"]
    path.write_text(json.dumps(document if version is None else {"format": version, **document}))
    error = error_message(["compare", str(tmp_path)], capsys)
    assert (
        f"{path}: this file has format 1, written by another version of robustkd, and this one reads format 2" in error
    )


def test_damage_deep_in_a_result_or_in_a_history_is_named_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_studies(tmp_path)[0]
    epochs = study / "runs" / "dml-seed0" / "epochs.csv"
    epochs.write_text("")
    assert f"{epochs}: this file cannot be read (EmptyDataError" in error_message(["compare", str(study)], capsys)
    epochs.unlink()
    path = study / "runs" / "baseline-seed0" / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "early": {"metrics": {"accuracy": 0.5}}}))
    error = error_message(["compare", str(study)], capsys)
    assert f"{path}: this file is damaged: 'early.rows' is missing or wrong in it" in error


def test_requested_files_are_written_even_if_the_study_is_not_writable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = write_studies(tmp_path)[0]
    (study / "comparison").write_text("the user's")
    monkeypatch.chdir(tmp_path)
    cli.main(["compare", str(study), "--csv", "out", "--markdown", "a.md", "--latex", "a.tex"])
    out = " ".join(capsys.readouterr().out.split())
    assert f"{study}: the comparison cannot be written there (File exists)" in out
    assert "performance: mean ± standard deviation" in out
    assert Path("out/summary.csv").exists()
    assert Path("a.md").exists()
    assert Path("a.tex").exists()
    assert (study / "comparison").read_text() == "the user's"


def test_the_newest_study_is_shown_by_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for age, path in enumerate(write_studies(tmp_path / "studies")):
        os.utime(path / "study.json", (1e9 + (age == 1), 1e9 + (age == 1)))
    cli.main(["compare"])
    assert "tables, pictures and runs: studies/toy-clean-1" in capsys.readouterr().out
    assert compare.select_studies([], "files", StudySelection(out="studies")) == [Path("studies/toy-clean-1")]


def test_test_labels_are_trusted_as_requested_now_else_as_in_the_study() -> None:
    trusting = record(options={"trust_test_labels": True})
    assert trusts_test_labels(trusting)
    assert not trusts_test_labels(trusting, False)
    assert trusts_test_labels(record(), True)
    assert not trusts_test_labels(record())


def test_of_a_metric_that_is_better_lower_the_lowest_is_best() -> None:
    comparisons = [comparison.compare(known())]
    assert find_ranked_metric(comparisons, "worst-recall") == "worst_recall"
    assert find_ranked_metric(comparisons, "nll") == "nll"
    table, ranks = compare_studies(comparisons, "nll")
    best = table.set_index("method")["best"]
    assert best[best].index.tolist() == ["hinton"], "0.540 is the least of those that a run ships"
    assert ranks.loc["hinton", "rank"] == 1
    assert table.set_index("method")["below"].to_dict()["hinton"] is False


def table_of(metric: str, *comparisons: Comparison) -> Table:
    """The table across studies."""
    (grid,) = (part for part in summarise_studies(comparisons, metric) if isinstance(part, Table))
    return grid


def test_only_shares_are_in_per_cent_in_titles_and_cells() -> None:
    study = change_results(as_given(), lambda run: {"last": run.last.model_copy(update={"scaled": SCALED})})
    compared = comparison.compare(study)
    for figure, title, cell in (
        ("nll_scaled", "NLL after temperature scaling, mean", "0.300 ± 0.000"),
        ("clean_nll", "NLL, clean part, mean", "1.000 ± 0.000"),
        ("clean_brier", "Brier, clean part, mean", "0.250 ± 0.000"),
        ("ece_scaled", "ECE after temperature scaling, mean", "2.0 ± 0.0"),
        ("clean_accuracy", "accuracy, clean part, mean", "75.0 ± 0.0"),
    ):
        grid = table_of(figure, compared)
        assert grid.title.startswith(title)
        assert grid.title.endswith(", per cent") == (figure in ("ece_scaled", "clean_accuracy"))
        rows = {row.cells[0].text: row.cells[1].full_text for row in grid.rows}
        assert rows["baseline"] == cell, figure


def test_ranks_are_among_the_methods_that_every_study_has_whole() -> None:
    whole, part = known(), known()
    part = part._replace(results=[r for r in part.results if r.run.method not in ("dml", "hinton+balanced")])
    pages = {}
    for name, study in (("part", part), ("nothing", part._replace(results=part.results[:10]))):
        pages[name] = summarise_studies([comparison.compare(whole), comparison.compare(study)])
    (grid,) = (part for part in pages["part"] if isinstance(part, Table))
    rows = {row.cells[0].text: row.cells[-1].text for row in grid.rows}
    assert rows == {
        **{"teacher": "-", "baseline, stopped early": "-", "dml": "-", "hinton+balanced": "-"},
        **{"hinton": "1.00", "baseline": "2.00", "baseline+balanced": "3.00"},
    }
    assert "Ranks, 1 the best, are among the 3 methods that every study has with all its seeds." in pages["part"]
    assert "No ranks: there are not two methods that every study has with all its seeds." in pages["nothing"]


def test_a_given_teacher_is_named_by_its_file_alone() -> None:
    names = {
        "/home/me/nets/best.pt": "best.pt",
        r"C:\nets\best.pt": "best.pt",
        "nets/best": "best",
        "best.pt": "best.pt",
        "runs:/0123/model": "runs:/0123/model",
        "0" * 32: "0" * 32,
    }
    options = StudyOptions(scenario="clean")
    for text, name in names.items():
        assert describe_teacher(replace(options, teacher=text)) == f"teacher (given: {name})"
    assert describe_teacher(replace(options, teacher="net(file=a/b)")) == "teacher (net(file=a/b), ce)"
    assert describe_teacher(options) == "teacher (wrn_16_2, ce)"
    text = render_text(page(known()._replace(record=record(options={"teacher": "/home/me/nets/best.pt"}))))
    assert "/home" not in text
    assert text.count("teacher (given: best.pt)") == 3


def test_accuracy_during_training_names_the_number_of_rows() -> None:
    for rows, words in ((2000, "(test accuracy)"), (2001, "(test accuracy on 2,000 fixed test rows)")):
        study = known()
        resolved = study.record.resolved.model_copy(update={"rows_test": rows})
        study = study._replace(record=study.record.model_copy(update={"resolved": resolved}))
        assert f"plain training along the run {words}: epoch 2" in " ".join(render_text(page(study)).split())


def test_bootstrap_intervals_are_shown_where_there_are_any() -> None:
    runs = [result(method, seed) for method in ("baseline", "hinton") for seed in range(10)]
    ten_seeds = LoadedStudy(record(["baseline", "hinton"], 10), runs, {})
    for study, has_bootstrap in ((known(), False), (ten_seeds, True)):
        compared = comparison.compare(study)
        (grid,) = (
            p for p in summarise_study(compared) if isinstance(p, Table) and p.title.startswith("what the seeds")
        )
        titles = [column.title for column in grid.columns]
        assert ("bootstrap" in titles) == has_bootstrap
        cells = dict(zip(titles, (cell.text for cell in grid.rows[0].cells), strict=True))
        assert cells["verdict"] == "better"
        assert [column.title for column in grid.columns if column.is_text] == ["method", "reference", "verdict"]
        if has_bootstrap:
            row = compared.verdicts.loc["hinton"]
            assert cells["bootstrap"] == f"[{100 * row['boot_low']:+.1f}, {100 * row['boot_high']:+.1f}]"


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name, study in GOLDENS.items():
        (GOLDEN / f"compare-{name}.txt").write_text(render_text(page(study())), encoding="utf-8")
