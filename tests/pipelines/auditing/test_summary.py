"""An audit's findings on the terminal, and the command that continues from them."""

import shlex
from pathlib import Path

import pytest

from pipelines.auditing.summary import class_estimates, next_command, print_findings, summarise_findings
from pipelines.cli_options import AuditOptions
from tests.pipelines.auditing.audited import make_findings

OPTIONS = AuditOptions(dataset="npz:my data.npz")


def test_the_sentences_state_estimates_of_both_parts() -> None:
    findings = make_findings(wrong=3, test_wrong=1)
    sentences = summarise_findings(OPTIONS, findings)
    assert sentences[0] == "an estimated 15.0 % of the 20 training labels are wrong; 3 are suspicious"
    assert sentences[1].startswith("test labels: an estimated 10.0 % of 10 are wrong; 1 are suspicious.")
    assert "predict 85.0 % of the training labels out of fold" in sentences[2]
    assert sentences[3:] == ["a note"]


def test_an_estimate_that_may_be_the_networks_own_errors_is_an_upper_bound(capsys: pytest.CaptureFixture[str]) -> None:
    findings = make_findings(wrong=14)
    sentences = summarise_findings(OPTIONS, findings)
    assert sentences[0] == "at most 70.0 % of the 20 training labels are wrong; 14 are suspicious"
    assert sentences[2].startswith(
        "the networks predict 30.0 % of the training labels out of fold, too few for an estimate"
    )
    print_findings(OPTIONS, findings, Path("audits/x"), [])
    output = capsys.readouterr().out
    assert "not to be pruned unseen" in output
    assert "continue with" not in output
    print_findings(AuditOptions(dataset="npz:a.npz", force=True), findings, Path("audits/x"), [])
    assert "continue with" in capsys.readouterr().out


def test_known_true_labels_are_compared_with_the_suspicious_ones() -> None:
    sentences = summarise_findings(OPTIONS, make_findings(wrong=3, truth=True))
    assert (
        "train rows whose true label is known: 3 of 20 are wrong; of 3 suspicious 3 are: precision 1.000, recall 1.000"
        in (sentences)
    )


def test_labels_that_a_scenario_changed_are_counted() -> None:
    findings = make_findings(wrong=3, published=True)
    options = AuditOptions(dataset="npz:a.npz", scenario="noise0.2")
    sentences = summarise_findings(options, findings)
    assert sentences[0].startswith("scenario noise0.2: ")
    assert "of the 3 labels that the scenario changed, 3 are suspicious" in sentences


def test_a_class_without_assessed_labels_has_no_estimated_rate() -> None:
    findings = make_findings(wrong=3)
    joint = findings.train.issues.joint
    joint[:, 1] = 0
    table = class_estimates(findings.train)
    cells = [list(column.cells) for column in table.columns]
    assert cells[0] == ["[red]a[/red]", "b"]
    assert cells[2][1] == "-"
    assert cells[1] == ["10", "10"]


def test_an_audit_is_continued_by_pruning_with_the_options_that_differ_from_their_defaults() -> None:
    options = AuditOptions(dataset="npz:my data.npz", augment=False, folds=4, held_out=0.2)
    words = shlex.split(next_command(options, Path("audits/x"), 500))
    assert words[:3] == ["robustkd", "audit", "npz:my data.npz"]
    assert words[-1] == "--prune"
    assert sorted(words[3:-1]) == sorted(["--augment", "none", "--folds", "4", "--held-out", "0.2"])


@pytest.mark.parametrize(
    ("folder", "rows", "expected"),
    [
        ("audits/x", 500, ["manifest(file=audits/x/pruned.csv)"]),
        ("my audits/x", 500, ['manifest(file="my audits/x/pruned.csv")']),
        ("audits/x", 9, ["manifest(file=audits/x/pruned.csv)", "--batch", "9"]),
    ],
)
def test_a_pruned_data_set_is_continued_by_a_study(folder: str, rows: int, expected: list[str]) -> None:
    options = AuditOptions(dataset="npz:a.npz", prune=True, folds=4, held_out=0.2)
    words = shlex.split(next_command(options, Path(folder), rows))
    assert words == ["robustkd", "run", "--dataset", "npz:a.npz", "--scenario", *expected, "--held-out", "0.2"]


@pytest.mark.parametrize(("wrong", "truth", "continued"), [(3, False, True), (0, False, False), (3, True, True)])
def test_a_next_command_is_printed_where_rows_are_suspicious(
    wrong: int, truth: bool, continued: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    print_findings(OPTIONS, make_findings(wrong=wrong, truth=truth), Path("audits/x"), ["3 rows pruned"])
    output = capsys.readouterr().out
    assert "3 rows pruned" in output
    assert ("continue with: robustkd audit" in output) == continued
    assert ("most suspicious training rows" in output) == bool(wrong)


def test_labels_known_to_be_clean_are_not_to_be_pruned(capsys: pytest.CaptureFixture[str]) -> None:
    print_findings(OPTIONS, make_findings(wrong=3, truth=True, all_correct=True), Path("audits/x"), [])
    output = capsys.readouterr().out
    assert "none of 20 is wrong, but 3 are suspicious" in output
    assert "continue with" not in output
