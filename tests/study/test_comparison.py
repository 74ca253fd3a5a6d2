"""Tables of made-up results, by hand."""

import cProfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from robustkd.evaluation.results import AttackMetrics, FitMetrics, TemperatureScaling
from robustkd.study import comparison, conclusions
from robustkd.study.pairing import compared_methods
from robustkd.study.results import LoadedStudy, RunResult, TrainingInfo, read_study, write_document
from tests.records import change_results, make_cost, make_net, make_record, make_result, make_training
from tests.study.example_studies import example_study, run_result

METHODS = ["baseline", "hinton"]


RESULTS = [
    run_result("teacher", "baseline+ce", 0, 0.9, 0.7),
    run_result("student", "baseline", 0, 0.8, 0.6, early=0.75),
    run_result("student", "baseline", 1, 0.6, 0.4, early=0.65),
    run_result("student", "hinton", 0, 0.9, 0.5),
    run_result("student", "hinton", 1, 0.8, 0.4),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for made in RESULTS:
        run = tmp_path / "runs" / made.name
        run.mkdir(parents=True)
        write_document(run / "result.json", made)
        base = made.last.metrics["accuracy"]
        pd.DataFrame({"epoch": range(1, 9), "accuracy": [base + epoch / 100 for epoch in range(1, 9)]}).to_csv(
            run / "epochs.csv"
        )
    write_document(tmp_path / "study.json", make_record(["baseline", "hinton"], 2))
    return tmp_path


def test_the_summary_is_means_and_deviations_over_seeds(folder: Path) -> None:
    summary = comparison.compare_runs(read_study(folder)).summary
    assert list(summary.index) == ["teacher", "baseline", "baseline, stopped early", "hinton"]
    assert summary.loc["baseline", "accuracy_mean"] == pytest.approx(0.6)  # (0.7 + 0.5) / 2
    assert summary.loc["baseline", "accuracy_std"] == pytest.approx(0.2 / 2**0.5)
    assert summary.loc["baseline, stopped early", "accuracy_mean"] == pytest.approx(0.7)
    assert summary.loc["hinton", "worst_recall_mean"] == pytest.approx(0.45)
    assert summary["seeds"].tolist() == [1, 2, 2, 2]


def test_differences_are_paired_by_seed(folder: Path) -> None:
    table = comparison.compare_runs(read_study(folder)).per_class
    assert table.columns.tolist() == ["baseline recall", "hinton - baseline"]
    assert table["hinton - baseline"].tolist() == pytest.approx([0.15, -0.05])  # cat: +0.1, +0.2; dog: -0.1, 0.0


def test_a_seed_without_its_pair_is_left_out() -> None:
    table = comparison.class_differences(
        [*RESULTS, run_result("student", "hinton", 2, 0.0, 0.0)], METHODS, {"hinton": "baseline"}
    )
    assert table["hinton - baseline"].tolist() == pytest.approx([0.15, -0.05])


def test_the_reference_has_the_same_criterion() -> None:
    results = [
        *RESULTS,
        run_result("student", "hinton+balanced", 0, 0.9, 0.9),
        run_result("student", "baseline+balanced", 0, 0.8, 0.8),
    ]
    criteria = {"baseline": "ce", "baseline+balanced": "balanced", "hinton+balanced": "balanced"}
    table = comparison.class_differences(results, criteria, compared_methods(criteria))
    assert table["hinton+balanced - baseline+balanced"].tolist() == pytest.approx([0.1, 0.1])
    assert table["baseline+balanced - baseline"].tolist() == pytest.approx([0.0, 0.2]), (
        "a criterion is compared with ce"
    )


def test_without_a_baseline_there_are_recalls() -> None:
    table = comparison.class_differences(RESULTS, ["hinton"], {})
    assert table.columns.tolist() == ["hinton recall"]
    assert table["hinton recall"].tolist() == pytest.approx([0.85, 0.45])


def test_plain_training_is_told_along_the_run(folder: Path) -> None:
    along = comparison.compare_runs(read_study(folder)).progress
    assert along.index.tolist() == ["epoch 2", "epoch 4", "epoch 8"]
    assert along["mean"].tolist() == pytest.approx([0.62, 0.64, 0.68])


def test_auxiliary_predictions_have_a_row_after_their_model(folder: Path) -> None:
    study = change_results(
        read_study(folder),
        lambda r: (
            {"auxiliary": {"ensemble": make_net({"cat": 0.3, "dog": 0.3}, accuracy=0.3 + r.run.seed / 10)}}
            if r.run.method == "baseline"
            else {}
        ),
    )
    summary = comparison.compare_runs(study).summary
    assert list(summary.index) == ["teacher", "baseline", "baseline, ensemble", "baseline, stopped early", "hinton"]
    assert summary.loc["baseline, ensemble", "accuracy_mean"] == pytest.approx(0.35)


def test_seeds_and_methods_that_were_not_requested_are_left_out(folder: Path) -> None:
    write_document(folder / "study.json", make_record(["baseline"], 1))
    summary = comparison.compare_runs(read_study(folder)).summary
    assert list(summary.index) == ["teacher", "baseline", "baseline, stopped early"]
    assert summary.loc["baseline", "accuracy_mean"] == pytest.approx(0.7)


def test_first_seed_selects_seeds_that_were_not_looked_at(folder: Path) -> None:
    write_document(folder / "study.json", make_record(["baseline"], 1, {"first_seed": 1}))
    summary = comparison.compare_runs(read_study(folder)).summary
    # Seed 0's teacher was given by the user in this record: no recipe trained it, so it stays.
    assert list(summary.index) == ["teacher", "baseline", "baseline, stopped early"]
    assert summary.loc["baseline", "accuracy_mean"] == pytest.approx(0.5)


def test_a_teacher_that_was_trained_is_left_out_with_its_seed(folder: Path) -> None:
    record = make_record(["baseline"], 1, {"first_seed": 1})
    trained = record.resolved.model_copy(update={"recipes": {"teacher": record.recipe, "student": record.recipe}})
    write_document(folder / "study.json", record.model_copy(update={"resolved": trained}))
    assert "teacher" not in comparison.compare_runs(read_study(folder)).summary.index


def test_metrics_against_the_truth_are_shown_where_they_are_known(folder: Path) -> None:
    study = read_study(folder)
    assert not [name for name in comparison.compare_runs(study).summary if "memorised" in name or "clean" in name]
    known = {("hinton", 0): (0.2, 0.25), ("hinton", 1): (0.4, 0.75), ("baseline", 0): (0.5, 0.5)}

    def clean(r: RunResult) -> dict[str, Any]:
        if (r.run.method, r.run.seed) not in known:
            return {}
        memorised, cat = known[r.run.method, r.run.seed]
        shares = {"memorised": memorised, "recovered": None, "clean_fit": 0.9}
        return {
            "fit": FitMetrics(known=9, corrupted=3, foreign=0, metrics=shares),
            "clean": make_net({"cat": cat, "dog": None}, support=[7, 0], accuracy=0.5),
        }

    made = comparison.compare_runs(change_results(study, clean))
    assert made.summary.loc["hinton", "memorised_mean"] == pytest.approx(0.3)
    assert made.summary.loc["hinton", "clean_accuracy_mean"] == 0.5
    assert made.summary.loc[["teacher", "baseline, stopped early"], "memorised_mean"].isna().all()
    assert "recovered_mean" not in made.summary, "it was not measured"
    assert made.per_class_clean.loc["cat", "hinton - baseline"] == pytest.approx(-0.25), "seed 1 has no pair"
    assert made.per_class_clean.loc["dog"].isna().all(), "there is no clean label to recall"


def test_the_order_of_results_does_not_matter() -> None:
    record = example_study()
    turned = record._replace(results=record.results[::-1])
    one, other = comparison.compare_runs(record), comparison.compare_runs(turned)
    for name in ("summary", "verdicts", "classes", "per_class"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name), obj=name)


def test_nothing_to_compare_is_said() -> None:
    lone = comparison.compare_runs(example_study(["hinton", "sp"]))
    assert len(lone.verdicts) == len(lone.classes) == 0
    assert "no baseline" in conclusions.question_and_answer(lone)[1]
    assert conclusions.verdict_rule(lone) == []
    nothing = comparison.compare_runs(example_study()._replace(results=[]))
    assert len(nothing.summary) == 0
    assert nothing.verdicts["verdict"].tolist() == ["too few seeds"] * 4
    assert "finished" in conclusions.question_and_answer(nothing)[1]


def test_further_figures_have_columns_of_their_own() -> None:
    scaled = TemperatureScaling(temperature=2.0, ece=0.1, nll=0.4)
    attacked = AttackMetrics(attack="fgsm", accuracy=0.25, balanced_accuracy=0.25, recall={})
    record = change_results(
        example_study(),
        lambda r: {
            "last": make_net(r.last.recall, nll=0.5, groups={"many": 0.9}, scaled=scaled),
            "agreement": {"test": 0.8, "corrupted": None},
            "robust": {"fgsm 8/255": attacked},
            "corruptions": {"noise": {"1": 0.8, "5": 0.4}, "blur": {"1": 0.9, "5": 0.3}},
            "cost": make_cost(seconds=2.0 + r.run.seed),
        },
    )
    made = comparison.compare_runs(record)
    row = made.summary.loc["hinton"]
    figures = (
        "nll",
        "many",
        "temperature",
        "ece_scaled",
        "agreement_test",
        "fgsm 8/255",
        "corruptions",
        "corruption blur",
    )
    assert [row[f"{name}_mean"] for name in figures] == pytest.approx([0.5, 0.9, 2.0, 0.1, 0.8, 0.25, 0.6, 0.6])
    assert "agreement_corrupted_mean" not in made.summary
    assert made.costs.loc["hinton", ["seconds", "macs"]].to_dict() == {"seconds": 4.0, "macs": 100.0}


def test_the_early_stopping_point_is_of_all_seeds_or_of_none() -> None:
    def training(seed: int) -> TrainingInfo:
        return make_training(early_epoch=10 + seed)

    every = comparison.compare_runs(change_results(example_study(), lambda r: {"training": training(r.run.seed)}))
    assert comparison.early_stopping_point(every) == pytest.approx((12.0, 0.9))
    some = change_results(example_study(), lambda r: {"training": training(r.run.seed)} if r.run.seed else {})
    assert comparison.early_stopping_point(comparison.compare_runs(some)) is None
    assert comparison.early_stopping_point(every, "hinton") is None, "it was not stopped early"


def count_calls(methods: int) -> int:
    """Count the calls of functions in a comparison of so many methods with 5 seeds."""
    names = ["baseline", *(f"hinton(alpha=0.{number})" for number in range(1, methods))]
    nets = {seed: make_net({"cat": 0.8 + 0.01 * seed, "dog": 0.6}) for seed in range(5)}
    results = [make_result("student", name, seed, net) for name in names for seed, net in nets.items()]
    study = LoadedStudy(make_record(names, 5), results, {})
    with cProfile.Profile() as profile:
        comparison.compare_runs(study)
    return sum(entry.callcount for entry in profile.getstats())


def test_a_comparison_is_linear_in_the_number_of_methods() -> None:
    count_calls(2)  # imports and caches
    few, some, many = map(count_calls, (8, 16, 32))
    assert many - some == pytest.approx(2 * (some - few), rel=0.25)
