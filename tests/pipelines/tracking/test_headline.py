"""What the tracked runs of studies and sweeps show, against figures taken from the results themselves."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.tracking import headline
from robustkd.study.comparison import Comparison
from robustkd.study.results import LoadedStudy, write_document
from tests.pipelines.synthetic import compared_study, loaded_study


def mean_metric(study: LoadedStudy, method: str, metric: str) -> float:
    """The mean over seeds, from the results."""
    runs = [result for result in study.results if result.run.row == method]
    return float(np.mean([result.last.metrics[metric] for result in runs]))


def test_a_study_has_metrics_per_method_and_the_largest_gain() -> None:
    study = loaded_study(("baseline", "hinton", "at"), seed_count=3)
    shown = headline.study_headline(compared_study(("baseline", "hinton", "at"), seed_count=3))
    for method in ("teacher", "baseline", "hinton", "at"):
        for metric in ("balanced_accuracy", "accuracy", "worst_recall"):
            assert shown.metrics[f"{metric}/{method}"] == pytest.approx(mean_metric(study, method, metric))
    accuracy = {method: mean_metric(study, method, "balanced_accuracy") for method in ("baseline", "hinton", "at")}
    assert shown.metrics["gain/hinton"] == pytest.approx(accuracy["hinton"] - accuracy["baseline"])
    assert shown.metrics["gain/at"] == pytest.approx(accuracy["at"] - accuracy["baseline"])
    assert shown.metrics["best_gain"] == max(shown.metrics["gain/hinton"], shown.metrics["gain/at"])
    assert shown.best == "hinton"
    assert not [name for name in shown.metrics if "stopped" in name]


def test_a_study_has_its_question_its_answer_and_its_verdicts_in_markdown() -> None:
    text = headline.study_headline(compared_study(scenario="noise0.4")).text
    assert text.startswith("**Did the method beat plain training on digits under noise0.4?**\n\nNo verdict, because ")
    assert "\n| hinton | baseline | +" in text


def test_a_method_is_named_as_mlflow_accepts_it() -> None:
    shown = headline.study_headline(compared_study(("baseline", "hinton(alpha=0.5)", "hinton(alpha:0.5)")))
    assert {name for name in shown.metrics if name.startswith("gain/")} == {
        "gain/hinton_alpha_0.5_",
        "gain/hinton_alpha_0.5__2",
    }


def test_a_study_without_a_comparison_has_no_gain() -> None:
    shown = headline.study_headline(compared_study(("hinton",)))
    assert not [name for name in shown.metrics if "gain" in name]
    assert shown.best == ""
    assert "There is nothing to compare" in shown.text


def test_a_study_that_cannot_be_read_has_no_headline(tmp_path: Path) -> None:
    assert headline.read_headline(tmp_path) is None
    write_document(tmp_path / "study.json", loaded_study().record)
    unfinished = headline.read_headline(tmp_path)
    assert unfinished is not None
    assert unfinished.metrics == {}


def test_a_sweep_has_means_over_its_studies_and_an_answer_for_each() -> None:
    studies: list[Comparison] = [compared_study(scenario="clean"), compared_study(scenario="noise0.4", seed_count=3)]
    shown = headline.sweep_headline(studies, {"digits, noise*": "no such scenario"})
    gains = [study.verdicts.loc["hinton", "difference"] for study in studies]
    assert shown.metrics["gain/hinton"] == shown.metrics["best_gain"] == pytest.approx(np.mean(gains))
    assert (shown.metrics["rank/hinton"], shown.metrics["rank/baseline"]) == (1.0, 2.0)
    assert (shown.metrics["studies"], shown.metrics["failures"]) == (2, 1)
    lines = shown.text.splitlines()
    assert [line.partition("**:")[0] for line in lines[:3]] == [
        "* **digits, clean",
        "* **digits, noise0.4",
        "* **digits, noise\\*",
    ]
    # Each family has one study, both rank alike: 1.96 sqrt(2 3 / (6 2)) over both.
    assert shown.metrics["critical_difference"] == pytest.approx(1.386, abs=1e-3)
    assert (shown.metrics["rank label noise/hinton"], shown.metrics["rank clean/hinton"]) == (1.0, 1.0)
    assert "all: 1.4 (2 studies" in shown.text
    assert lines[2].endswith("incomplete: no such scenario")
    assert headline.sweep_headline([], {}).metrics == {"studies": 0, "failures": 0}


def test_an_oracle_is_no_best_method() -> None:
    comparison = compared_study(("baseline", "hinton", "at"), seed_count=3)
    verdicts = comparison.verdicts.copy()
    verdicts.loc["hinton", "verdict"] = "oracle"
    shown = headline.study_headline(comparison._replace(verdicts=verdicts))
    assert shown.best == "at"
    assert {name for name in shown.metrics if name.startswith("gain/")} == {"gain/at"}
    assert "balanced_accuracy/hinton" in shown.metrics
