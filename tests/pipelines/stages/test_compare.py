"""The `compare` command: the files it writes, several studies side by side, and arguments that are refused."""

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipelines import cli
from pipelines.cli_options import StudySelection
from pipelines.stages import compare
from robustkd.study import comparison
from robustkd.study.across import compare_studies
from robustkd.study.conclusions import trusts_test_labels
from robustkd.study.results import LoadedStudy, RunResult, write_document
from tests.pipelines.report.toy_studies import (
    make_toy_record,
    make_toy_result,
    study_with_known_labels,
    study_with_labels_as_given,
)
from tests.records import change_results


@pytest.mark.parametrize("seeds", [0, 1])
def test_a_study_that_has_just_begun_has_a_page(seeds: int, tmp_path: Path) -> None:
    runs = [make_toy_result(method, seed) for method in ("baseline", "hinton") for seed in range(seeds)]
    compared = comparison.compare_runs(LoadedStudy(make_toy_record(["baseline", "hinton"]), runs, {}))
    compare.write_comparison_files(compared, tmp_path / "comparison")
    text = (tmp_path / "comparison" / "comparison.txt").read_text()
    assert ("too few seeds" if seeds else "No run is finished yet.") in text


# Files


def test_csv_files_hold_the_tables(tmp_path: Path) -> None:
    compared = comparison.compare_runs(study_with_labels_as_given())
    compare.write_comparison_files(compared, tmp_path / "comparison")
    written = {path.name for path in (tmp_path / "comparison").iterdir()}
    frames = {"summary", "verdicts", "classes", "per_class", "per_class_clean", "costs"}
    assert {*compare.COMPARISON_TABLES} == {*frames, "along"}
    assert {*compare.CONCATENATED} <= {*compare.COMPARISON_TABLES}
    assert {f"{name}.csv" for name in frames} | {f"comparison.{x}" for x in ("txt", "md", "tex")} <= written
    for name, frame in compare.collect_tables(compared).items():
        index = 0 if frame.index.name else None
        text = {"missing": str} if "missing" in frame else {}  # numbers of seeds, none of which is an empty cell
        back = pd.read_csv(tmp_path / "comparison" / f"{name}.csv", index_col=index, dtype=text)
        back = back.fillna(dict.fromkeys(text, ""))
        pd.testing.assert_frame_equal(back, frame, check_dtype=False, check_exact=True)
    compare.write_comparison_files(comparison.compare_runs(study_with_known_labels()), tmp_path / "comparison")
    assert not (tmp_path / "comparison" / "per_class_clean.csv").exists(), (
        "the file is of a study that is no longer there"
    )


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

        return change_results(study_with_known_labels(), change)._replace(
            record=make_toy_record(options={"scenario": scenario})
        )

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
    assert out.count("what the seeds show") == 2 + out.count("in points, continued")
    assert "worst class, mean ± standard deviation" in out


def test_studies_are_compared_with_one_method_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, _, _ = write_studies(tmp_path / "studies")
    cli.main(["compare", str(first), "--reference", "hinton"])
    out = " ".join(capsys.readouterr().out.split())
    assert "Did any of 4 methods beat hinton on" in out
    assert "recall per class of hinton, then differences from it in points" in out
    assert not (first / "comparison").exists(), "the comparison in its folder is with the baselines"
    cli.main(["compare", str(tmp_path / "studies"), "--reference", "hinton()"])
    assert "⇑ better, ⇓ worse than hinton, by the verdict" in " ".join(capsys.readouterr().out.split())


def test_a_notebook_gets_one_frame(tmp_path: Path) -> None:
    write_studies(tmp_path)
    comparisons = compare.load_comparisons(tmp_path)
    assert len(compare_studies(comparisons).table) == 2 * (1 + 5 + 2), "teacher, methods, and two stopped early"
    table = compare.concat_tables(comparisons, "classes")
    assert table.columns[0] == "study"
    assert len(table) == 2 * 3 * 4
    assert set(compare.concat_tables(comparisons, "summary")["study"]) == {"clean", "noise0.4"}
    assert compare.concat_tables(comparisons, "per_class_clean").empty


def test_tables_are_written_where_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, _, _ = write_studies(tmp_path / "studies")
    cli.main(["compare", "studies", "--csv", "out", "--markdown", "table.md", "--latex", "table.tex"])
    assert {path.name for path in Path("out").iterdir()} == {
        f"{name}.csv" for name in ("across", "ranks", "rank_tests", "summary", "verdicts", "classes", "costs")
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
        ("compare studies --reference hintn", "has no such method (did you mean 'hinton'?); it has: baseline,"),
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
        del document[outer][inner], document["checksum"]
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
    document = {**json.loads(path.read_text()), "early": {"metrics": {"accuracy": 0.5}}}
    path.write_text(json.dumps(document))
    assert f"{path}: this file is damaged: its content does not" in error_message(["compare", str(study)], capsys)
    del document["checksum"]
    path.write_text(json.dumps(document))
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
    with_reference = StudySelection(out="studies", reference="hinton")
    assert compare.select_studies([], "files", with_reference) == [Path("studies/toy-clean-1")]
    folders = {
        compare.select_studies([], "files", StudySelection(scenario="clean", dataset="digits", reference=name))[0]
        for name in ("", "hinton")
    }
    assert len(folders) == 1, "the reference is no option of the study"


def test_test_labels_are_trusted_as_requested_now_else_as_in_the_study() -> None:
    trusting = make_toy_record(options={"trust_test_labels": True})
    assert trusts_test_labels(trusting)
    assert not trusts_test_labels(trusting, False)
    assert trusts_test_labels(make_toy_record(), True)
    assert not trusts_test_labels(make_toy_record())
