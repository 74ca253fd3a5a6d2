"""Tables of made-up results, by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from robustkd.evaluation.results import AttackMetrics, FitMetrics, TemperatureScaling
from robustkd.study import comparison, conclusions
from robustkd.study.results import RunResult, TrainingInfo, read_study, write_document
from tests.records import change_results, make_cost, make_net, make_record, make_training
from tests.study.example_studies import balanced_accuracies, example_study, run_result, with_noisy_test_labels

CRITERIA = {"baseline": "ce", "hinton": "ce"}


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
    table = comparison.class_differences([*RESULTS, run_result("student", "hinton", 2, 0.0, 0.0)], CRITERIA)
    assert table["hinton - baseline"].tolist() == pytest.approx([0.15, -0.05])


def test_the_reference_has_the_same_criterion() -> None:
    results = [
        *RESULTS,
        run_result("student", "hinton+balanced", 0, 0.9, 0.9),
        run_result("student", "baseline+balanced", 0, 0.8, 0.8),
    ]
    criteria = {"baseline": "ce", "baseline+balanced": "balanced", "hinton+balanced": "balanced"}
    table = comparison.class_differences(results, criteria)
    assert table["hinton+balanced - baseline+balanced"].tolist() == pytest.approx([0.1, 0.1])
    assert table["baseline+balanced - baseline"].tolist() == pytest.approx([0.0, 0.2]), (
        "a criterion is compared with ce"
    )
    assert comparison.find_reference("hinton+balanced", {"baseline": "ce", "hinton+balanced": "balanced"}) == "baseline"


def test_without_a_baseline_there_are_recalls() -> None:
    table = comparison.class_differences(RESULTS, {"hinton": "ce"})
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


def test_verdicts_are_of_paired_tests_against_the_baseline_with_the_same_criterion() -> None:
    record = example_study()
    table = comparison.compare_runs(record).verdicts
    assert table.index.tolist() == ["baseline+balanced", "hinton", "hinton+balanced", "sp"]
    assert table["reference"].tolist() == ["baseline", "baseline", "baseline+balanced", "baseline"]
    assert table["verdict"].tolist() == ["better", "better", "identical", "no difference shown"]
    theirs = stats.ttest_rel(balanced_accuracies(record, "hinton"), balanced_accuracies(record, "baseline"))
    assert table.loc["hinton", "p"] == pytest.approx(theirs.pvalue)
    assert table.loc["hinton", "low"] == pytest.approx(theirs.confidence_interval().low)
    smallest = table.loc["baseline+balanced", "p"]
    assert smallest < theirs.pvalue, "Holm's correction steps up from the smallest of four"
    assert table.loc["hinton", "p_holm"] == pytest.approx(max(4 * smallest, 3 * theirs.pvalue))
    assert table.loc["hinton+balanced", "difference_plain"] == pytest.approx(
        np.mean(balanced_accuracies(record, "hinton+balanced")) - np.mean(balanced_accuracies(record, "baseline"))
    )
    assert np.isnan(table.loc["hinton", "difference_plain"])
    assert table["boot_low"].isna().all(), "five seeds are too few for it"


def test_the_order_of_results_does_not_matter() -> None:
    record = example_study()
    turned = record._replace(results=record.results[::-1])
    one, other = comparison.compare_runs(record), comparison.compare_runs(turned)
    for name in ("summary", "verdicts", "classes", "per_class"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name), obj=name)


def test_more_methods_make_a_verdict_harder() -> None:
    alone, beside = (
        comparison.compare_runs(example_study(["baseline", "hinton"])),
        comparison.compare_runs(example_study()),
    )
    assert alone.verdicts.loc["hinton", "p"] == beside.verdicts.loc["hinton", "p"]
    assert alone.verdicts.loc["hinton", "p_holm"] < beside.verdicts.loc["hinton", "p_holm"]


def test_four_seeds_give_no_verdict() -> None:
    made = comparison.compare_runs(example_study(seeds=4))
    assert set(made.verdicts["verdict"]) == {"too few seeds"}
    assert made.verdicts["low"].notna().any(), "their interval is told all the same"
    assert "No verdict, because there are too few seeds: 2 of 4 are above" in conclusions.question_and_answer(made)[1]


def test_ten_seeds_have_a_bootstrap_beside() -> None:
    row = comparison.compare_runs(example_study(seeds=10)).verdicts.loc["hinton"]
    assert row["low"] < row["boot_low"] < row["difference"] < row["boot_high"] < row["high"]


@pytest.mark.parametrize("rows", [0, 29])
def test_a_verdict_by_labels_as_given_is_marked(rows: int) -> None:
    made = comparison.compare_runs(with_noisy_test_labels(rows))
    assert made.verdicts["verdict"].tolist() == ["better"]
    assert made.verdicts["labels"].tolist() == ["as given"]
    assert made.verdicts["metric"].tolist() == ["balanced_accuracy"]
    assert "on the labels as given, which may be wrong," in conclusions.verdict_rule(made)[0]
    assert "30 test rows of each class" in conclusions.verdict_rule(made)[1]
    assert conclusions.question_and_answer(made)[1].endswith(
        "(balanced accuracy on the labels as given, which may be wrong)."
    )
    assert conclusions.test_label_caveat(made.record).startswith("test labels as given")


def test_thirty_clean_rows_of_each_class_decide() -> None:
    made = comparison.compare_runs(with_noisy_test_labels(30, flip=0.2))
    assert made.verdicts.loc["hinton", "metric"] == "clean_balanced_accuracy"
    assert made.verdicts.loc["hinton", "verdict"] == "worse", "on labels as given it would be better"
    assert "on the test rows with a clean label" in conclusions.verdict_rule(made)[0]


def test_classes_are_tested_one_by_one_and_corrected_together() -> None:
    record = example_study()
    table = comparison.compare_runs(record).classes
    assert table["method"].unique().tolist() == ["baseline+balanced", "hinton", "hinton+balanced", "sp"]
    assert table[["method", "class"]].values.tolist() == [
        [method, name] for method in table["method"].unique() for name in ("cat", "dog")
    ]
    own, base = ([r.last.recall["dog"] for r in record.results if r.run.method == m] for m in ("sp", "baseline"))
    theirs = stats.ttest_rel(own, base)
    row = table[(table["method"] == "sp") & (table["class"] == "dog")].iloc[0]
    assert [row["p"], row["low"], row["high"]] == pytest.approx([theirs.pvalue, *theirs.confidence_interval()])
    assert table["q"].tolist() == pytest.approx(stats.false_discovery_control(table["p"]).tolist())
    assert "verdict" not in table


def test_a_class_without_test_rows_is_no_question() -> None:
    record = change_results(example_study(), lambda r: {"last": make_net({"cat": r.last.recall["cat"], "dog": None})})
    table = comparison.compare_runs(record).classes
    assert table.loc[table["class"] == "dog", ["recall", "difference", "p", "q"]].isna().all(axis=None)
    cats = table[table["class"] == "cat"]
    assert cats["q"].tolist() == pytest.approx(stats.false_discovery_control(cats["p"]).tolist())


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


def test_an_unfinished_study_takes_no_verdict_back() -> None:
    """What is missing counts as if it had shown nothing, and methods asked for before count too."""
    whole = comparison.compare_runs(example_study()).verdicts
    record = example_study()
    part = record._replace(results=[r for r in record.results if r.run.method not in ("sp", "hinton+balanced")])
    assert comparison.compare_runs(part).verdicts.loc["hinton", "p_holm"] == pytest.approx(
        whole.loc["hinton", "p_holm"]
    )
    fewer = record._replace(record=make_record(["baseline", "hinton"], 5))
    made = comparison.compare_runs(fewer)
    assert made.verdicts.loc["hinton", "p_holm"] == pytest.approx(4 * made.verdicts.loc["hinton", "p"])
    assert "correction over the 4 compared" in conclusions.verdict_rule(made)[0]


def test_seeds_of_one_draw_are_not_counted_as_many() -> None:
    """Six seeds of two draws are two draws: averaged within each, they are too few for a verdict."""
    record = example_study(seeds=6, options={"data_seeds": 2})
    made = comparison.compare_runs(record)
    d = np.subtract(balanced_accuracies(record, "hinton"), balanced_accuracies(record, "baseline"))
    theirs = stats.ttest_1samp([d[::2].mean(), d[1::2].mean()], 0)
    assert made.verdicts.loc["hinton", ["n", "verdict"]].tolist() == [2, "too few seeds"]
    assert made.verdicts.loc["hinton", "p"] == pytest.approx(theirs.pvalue)
    assert "seeds of one draw of the scenario averaged (2 draws)" in conclusions.verdict_rule(made)[1]
    held = comparison.compare_runs(example_study(seeds=6, options={"data_seeds": 1}))
    assert held.verdicts.loc["hinton", ["n", "verdict"]].tolist() == [6, "better"]
    assert "the randomness of training, for one draw of the scenario," in conclusions.verdict_rule(held)[1]


def test_the_clean_part_decides_about_classes_and_the_early_stop_too() -> None:
    record = change_results(
        with_noisy_test_labels(30, flip=0.2),
        lambda r: {"clean_early": make_net({"cat": 0.99, "dog": 0.99})} if r.early is not None else {},
    )
    made = comparison.compare_runs(record)
    assert (made.classes["difference"] < 0).all(), "on labels as given they would be positive"
    assert made.classes["support"].tolist() == [30, 31]
    lost = np.mean(balanced_accuracies(record, "hinton")) - 0.2 - 0.99
    assert made.verdicts.loc["hinton", "difference_stopped"] == pytest.approx(lost)


def test_the_early_stopping_point_is_of_all_seeds_or_of_none() -> None:
    def training(seed: int) -> TrainingInfo:
        return make_training(early_epoch=10 + seed)

    every = comparison.compare_runs(change_results(example_study(), lambda r: {"training": training(r.run.seed)}))
    assert comparison.early_stopping_point(every) == pytest.approx((12.0, 0.9))
    some = change_results(example_study(), lambda r: {"training": training(r.run.seed)} if r.run.seed else {})
    assert comparison.early_stopping_point(comparison.compare_runs(some)) is None
    assert comparison.early_stopping_point(every, "hinton") is None, "it was not stopped early"


def test_every_method_has_a_row_stopped_early_compared_like_for_like() -> None:
    early = {"baseline": 0.9, "hinton": 0.85}
    study = change_results(
        example_study(["baseline", "hinton", "sp"]),
        lambda r: {
            "early": make_net(dict.fromkeys(("cat", "dog"), early[r.run.method])) if r.run.method in early else None
        },
    )
    made = comparison.compare_runs(study)
    assert [name for name in made.summary.index if "early" in name] == [
        "baseline, stopped early",
        "hinton, stopped early",
    ]
    assert made.verdicts.loc["hinton", "difference_early"] == pytest.approx(0.85 - 0.9)
    last = np.mean(balanced_accuracies(study, "hinton"))
    assert made.verdicts.loc["hinton", "difference_stopped"] == pytest.approx(last - 0.9), "last against early"
    assert np.isnan(made.verdicts.loc["sp", "difference_early"]), "it was not stopped early"


def test_oracles_are_shown_without_a_verdict_and_do_not_count() -> None:
    study = example_study(["baseline", "hinton", "sp"])
    marked = study._replace(record=study.record.model_copy(update={"oracles": ["sp"]}))
    alone = comparison.compare_runs(example_study(["baseline", "hinton"])).verdicts
    table = comparison.compare_runs(marked).verdicts
    assert table.loc["sp", "verdict"] == "oracle"
    assert np.isnan(table.loc["sp", ["p", "p_holm"]].astype(float)).all()
    assert table.loc["sp", "difference"] == comparison.compare_runs(study).verdicts.loc["sp", "difference"]
    assert table.loc["hinton", ["p_holm", "among"]].tolist() == alone.loc["hinton", ["p_holm", "among"]].tolist()
    question, answer = conclusions.question_and_answer(comparison.compare_runs(marked))
    assert "Did the method beat" in question
    assert "sp" not in answer
