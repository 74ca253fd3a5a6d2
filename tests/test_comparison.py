"""Tables of made-up results, by hand."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from robustkd import comparison


def result(role: str, method: str, seed: int, a: float, b: float, early: float | None = None) -> dict[str, Any]:
    """A run with recalls a and b of two classes of one size."""
    last = {
        "accuracy": (a + b) / 2,
        "balanced_accuracy": (a + b) / 2,
        "worst_recall": min(a, b),
        "recall": {"cat": a, "dog": b},
    }
    made: dict[str, Any] = {
        "cell": {"role": role, "method": method, "seed": seed},
        "name": f"{role}-{method}-{seed}",
        "last": last,
    }
    if early is not None:
        made["early"] = {"accuracy": early, "balanced_accuracy": early, "worst_recall": early}
    return made


RESULTS = [
    result("teacher", "baseline+ce", 0, 0.9, 0.7),
    result("student", "baseline", 0, 0.8, 0.6, early=0.75),
    result("student", "baseline", 1, 0.6, 0.4, early=0.65),
    result("student", "hinton", 0, 0.9, 0.5),
    result("student", "hinton", 1, 0.8, 0.4),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for made in RESULTS:
        run = tmp_path / "runs" / made["name"]
        run.mkdir(parents=True)
        (run / "result.json").write_text(json.dumps(made))
        base = made["last"]["accuracy"]
        pd.DataFrame({"epoch": range(1, 9), "accuracy": [base + epoch / 100 for epoch in range(1, 9)]}).to_csv(
            run / "epochs.csv"
        )
    card = {"methods": ["baseline", "hinton"], "seeds": 2}
    (tmp_path / "study.json").write_text(json.dumps(card))
    return tmp_path


def test_the_summary_is_means_and_deviations_over_seeds(folder: Path) -> None:
    summary = comparison.compare(folder).summary
    assert list(summary.index) == ["teacher", "baseline", "baseline, stopped early", "hinton"]
    assert summary.loc["baseline", "accuracy_mean"] == pytest.approx(0.6)  # (0.7 + 0.5) / 2
    assert summary.loc["baseline", "accuracy_std"] == pytest.approx(0.2 / 2**0.5)
    assert summary.loc["baseline, stopped early", "accuracy_mean"] == pytest.approx(0.7)
    assert summary.loc["hinton", "worst_recall_mean"] == pytest.approx(0.45)
    assert summary["seeds"].tolist() == [1, 2, 2, 2]


def test_differences_are_paired_by_seed(folder: Path) -> None:
    table = comparison.compare(folder).per_class
    assert table.columns.tolist() == ["baseline recall", "hinton - baseline"]
    assert table["hinton - baseline"].tolist() == pytest.approx([0.15, -0.05])  # cat: +0.1, +0.2; dog: -0.1, 0.0


def test_a_seed_without_its_pair_is_left_out() -> None:
    table = comparison.differences([*RESULTS, result("student", "hinton", 2, 0.0, 0.0)], ["baseline", "hinton"])
    assert table["hinton - baseline"].tolist() == pytest.approx([0.15, -0.05])


def test_the_reference_has_the_same_criterion() -> None:
    results = [
        *RESULTS,
        result("student", "hinton+balanced", 0, 0.9, 0.9),
        result("student", "baseline+balanced", 0, 0.8, 0.8),
    ]
    table = comparison.differences(results, ["baseline", "baseline+balanced", "hinton+balanced"])
    assert table["hinton+balanced - baseline+balanced"].tolist() == pytest.approx([0.1, 0.1])
    assert "baseline+balanced - baseline" not in table, "it is a reference of its own"
    assert comparison.reference("hinton+balanced", ["baseline", "hinton+balanced"]) == "baseline"


def test_without_a_baseline_there_are_recalls() -> None:
    table = comparison.differences(RESULTS, ["hinton"])
    assert table.columns.tolist() == ["hinton recall"]
    assert table["hinton recall"].tolist() == pytest.approx([0.85, 0.45])


def test_plain_training_is_told_along_the_run(folder: Path) -> None:
    along = comparison.compare(folder).along
    assert along.index.tolist() == ["epoch 2", "epoch 4", "epoch 8"]
    assert along["mean"].tolist() == pytest.approx([0.62, 0.64, 0.68])


def test_what_was_measured_beside_a_model_has_a_row_after_it(folder: Path) -> None:
    for seed in (0, 1):
        path = folder / "runs" / f"student-baseline-{seed}" / "result.json"
        made = json.loads(path.read_text())
        made["beside"] = {"ensemble": {"accuracy": 0.3 + seed / 10, "balanced_accuracy": 0.3, "worst_recall": 0.1}}
        path.write_text(json.dumps(made))
    summary = comparison.compare(folder).summary
    assert list(summary.index) == ["teacher", "baseline", "baseline, ensemble", "baseline, stopped early", "hinton"]
    assert summary.loc["baseline, ensemble", "accuracy_mean"] == pytest.approx(0.35)


def test_seeds_and_methods_that_were_not_asked_for_are_left_out(folder: Path) -> None:
    (folder / "study.json").write_text(json.dumps({"methods": ["baseline"], "seeds": 1}))
    summary = comparison.compare(folder).summary
    assert list(summary.index) == ["teacher", "baseline", "baseline, stopped early"]
    assert summary.loc["baseline", "accuracy_mean"] == pytest.approx(0.7)


def test_figures_against_the_truth_stand_where_they_are_known(folder: Path) -> None:
    assert not [name for name in comparison.compare(folder).summary if "memorised" in name or "clean" in name]
    for method, seed, memorised, cat in (("hinton", 0, 0.2, 0.25), ("hinton", 1, 0.4, 0.75), ("baseline", 0, 0.5, 0.5)):
        path = folder / "runs" / f"student-{method}-{seed}" / "result.json"
        made = json.loads(path.read_text())
        made["fit"] = {"memorised": memorised, "seen_through": None, "clean_fit": 0.9}
        made["clean"] = {"rows": 7, **made["last"], "accuracy": 0.5, "recall": {"cat": cat, "dog": None}}
        path.write_text(json.dumps(made))
    made = comparison.compare(folder)
    assert made.summary.loc["hinton", "memorised_mean"] == pytest.approx(0.3)
    assert made.summary.loc["hinton", "clean_accuracy_mean"] == 0.5
    assert made.summary.loc[["teacher", "baseline, stopped early"], "memorised_mean"].isna().all()
    assert "seen_through_mean" not in made.summary, "nobody measured it"
    assert made.clean.loc["cat", "hinton - baseline"] == pytest.approx(-0.25), "seed 1 has no pair"
    assert made.clean.loc["dog"].isna().all(), "no clean label is there to recall"
