"""Verdicts of made-up studies, by scipy and by hand."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from robustkd.evaluation.crossed import crossed_test
from robustkd.evaluation.power import Spread, power
from robustkd.study import comparison, conclusions
from robustkd.study.agreements import pack_groups, unpack_classes
from robustkd.study.results import LoadedStudy
from tests.records import change_results, make_net, make_record
from tests.study.example_studies import (
    balanced_accuracies,
    example_study,
    predicted_study,
    with_noisy_test_labels,
)


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
    assert table["over"].tolist() == ["seeds"] * 4, "there are no predictions"


def test_more_methods_make_a_verdict_harder() -> None:
    alone, beside = (
        comparison.compare_runs(example_study(["baseline", "hinton"])),
        comparison.compare_runs(example_study()),
    )
    assert alone.verdicts.loc["hinton", "p"] == beside.verdicts.loc["hinton", "p"]
    assert alone.verdicts.loc["hinton", "p_holm"] < beside.verdicts.loc["hinton", "p_holm"]


def test_all_methods_are_compared_with_one_on_request() -> None:
    study = predicted_study({"baseline": 0.3, "hinton": 0.2, "dml": 0.25, "dml+gce": 0.25})
    usual = comparison.compare_runs(study)
    made = comparison.compare_runs(study, reference="hinton")
    table = made.verdicts
    assert table["reference"].to_dict() == dict.fromkeys(("baseline", "dml", "dml+gce"), "hinton")
    assert table["among"].tolist() == [3, 3, 3]
    own, theirs = table.loc["baseline"], usual.verdicts.loc["hinton"]
    for name, mirrored in (("difference", "difference"), ("low", "high"), ("seed_low", "seed_high")):
        assert own[name] == pytest.approx(-theirs[mirrored]), "the same pairs from the other side"
    assert (own["p"], own["verdict"]) == (pytest.approx(theirs["p"]), "worse")
    by_hand = np.mean(balanced_accuracies(study, "dml")) - np.mean(balanced_accuracies(study, "hinton"))
    assert table.loc["dml", "difference"] == pytest.approx(by_hand)
    assert made.per_class.columns.tolist() == ["hinton recall", "baseline - hinton", "dml - hinton", "dml+gce - hinton"]
    assert set(made.classes["reference"]) == {"hinton"}
    pd.testing.assert_frame_equal(made.summary, usual.summary)


def test_four_seeds_give_no_verdict() -> None:
    made = comparison.compare_runs(example_study(seeds=4))
    assert set(made.verdicts["verdict"]) == {"too few seeds"}
    assert made.verdicts["low"].notna().any(), "their interval is reported all the same"
    assert "No verdict, because there are too few seeds: 2 of 4 are above" in conclusions.question_and_answer(made)[1]


@pytest.mark.parametrize("rows", [0, 29])
def test_a_verdict_by_labels_as_given_is_marked(rows: int) -> None:
    made = comparison.compare_runs(with_noisy_test_labels(rows))
    assert made.verdicts["verdict"].tolist() == ["better"]
    assert made.verdicts["labels"].tolist() == ["as given"]
    assert made.verdicts["metric"].tolist() == ["balanced_accuracy"]
    assert "on the labels as given, which may be wrong," in conclusions.verdict_rule(made)[0]
    assert "30 test rows of each class" in conclusions.verdict_rule(made)[1]
    assert conclusions.question_and_answer(made)[1].endswith(
        "(balanced accuracy on the labels as given, which may be wrong; over seeds, on these test images only)."
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
    assert conclusions.question_and_answer(held)[1].startswith("For this one draw of the scenario, better: ")


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


def image_differences_by_hand(study: LoadedStudy, method: str) -> np.ndarray:
    """Return the correctness of a method's networks minus that of the baseline's: (seeds, images)."""
    labels = unpack_classes(study.record.test_labels)
    right = {
        (r.run.method, r.run.seed): (unpack_classes(r.predictions["test"]) == labels).astype(float)
        for r in study.results
    }
    return np.array([right[method, seed] - right["baseline", seed] for seed in range(study.record.seeds)])


WEAK = {"baseline": 0.30, "hinton": 0.20}


def test_verdicts_are_over_images_too_where_predictions_are_recorded() -> None:
    study = predicted_study(WEAK, favoured=0.7)
    row = comparison.compare_runs(study).verdicts.loc["hinton"]
    d = image_differences_by_hand(study, "hinton")
    theirs = crossed_test(d, np.arange(60) % 2)
    assert row[["difference", "low", "high", "p"]].tolist() == pytest.approx([float(x) for x in theirs[:4]])
    assert row["difference"] == pytest.approx(0.1, abs=0.03), "the shares of wrong predictions"
    assert row["over"] == "seeds and test images"
    by_seed = (d[:, ::2].mean(axis=1) + d[:, 1::2].mean(axis=1)) / 2
    seeds = stats.ttest_1samp(by_seed, 0).confidence_interval()
    assert [row["seed_low"], row["seed_high"]] == pytest.approx([seeds.low, seeds.high])
    assert row["low"] < row["seed_low"], "images add to the error"
    spread = Spread(row["sd_seeds"], row["se_images"])
    assert power(row["detectable"], 5, spread) == pytest.approx(0.8, abs=1e-3)


def test_what_the_same_images_carry_is_shown_by_seeds_alone_only() -> None:
    counted = predicted_study({"baseline": 0.2, "hinton": 0.1}, favoured=3.0)
    without = change_results(counted, lambda r: {"predictions": {}})
    assert comparison.compare_runs(without).verdicts["verdict"].tolist() == ["better"]
    assert comparison.compare_runs(counted).verdicts["verdict"].tolist() == ["no difference shown"]


def without_labels(study: LoadedStudy) -> LoadedStudy:
    return study._replace(record=study.record.model_copy(update={"test_labels": ""}))


def with_other_labels(study: LoadedStudy) -> LoadedStudy:
    """The study after labels were corrected, before its networks are evaluated again."""
    other = predicted_study({"baseline": 0.0}, images=60).results[0].predictions["test"]
    changed = {"last": make_net({"cat": 0.5, "dog": 0.4}), "predictions": {"test": other}}
    return change_results(study, lambda r: changed if (r.run.method, r.run.seed) == ("hinton", 1) else {})


@pytest.mark.parametrize("change", [without_labels, with_other_labels])
def test_without_predictions_of_these_images_verdicts_are_over_seeds(change: Any) -> None:
    study = change(predicted_study(WEAK))
    row = comparison.compare_runs(study).verdicts.loc["hinton"]
    theirs = stats.ttest_rel(balanced_accuracies(study, "hinton"), balanced_accuracies(study, "baseline"))
    assert row["over"] == "seeds"
    assert row["p"] == pytest.approx(theirs.pvalue)
    assert row["low"] == row["seed_low"]


def test_classes_are_tested_over_images_too() -> None:
    study = predicted_study(WEAK, favoured=0.7)
    table = comparison.compare_runs(study).classes.set_index("class")
    d = image_differences_by_hand(study, "hinton")
    for place, name in enumerate(("cat", "dog")):
        theirs = crossed_test(d[:, place::2], np.zeros(30, dtype=int))
        found = table.loc[name, ["difference", "low", "high", "p"]].astype(float).tolist()
        assert found == pytest.approx([float(x) for x in theirs[:4]])


def test_identical_means_identical_predictions_where_these_are_known() -> None:
    same = predicted_study({"baseline": 0.2, "hinton": 0.2})
    made = comparison.compare_runs(same).verdicts.loc["hinton"]
    assert made["verdict"] == "no difference shown", "other images are wrong"
    copied = {
        r.run.seed: {"last": r.last, "predictions": r.predictions} for r in same.results if r.run.method == "baseline"
    }
    equal = change_results(same, lambda r: copied[r.run.seed])
    assert comparison.compare_runs(equal).verdicts["verdict"].tolist() == ["identical"]


def test_seeds_that_a_method_lacks_are_named() -> None:
    study = predicted_study(WEAK, seeds=7)
    lacking = study._replace(
        results=[r for r in study.results if (r.run.method, r.run.seed) not in {("hinton", 3), ("hinton", 5)}]
    )
    made = comparison.compare_runs(lacking)
    assert made.verdicts.loc["hinton", ["n", "missing"]].tolist() == [5, "3, 5"]
    assert conclusions.question_and_answer(made)[1].endswith(" Seeds are missing: hinton 3, 5.")


def test_oracles_count_in_no_correction_over_classes() -> None:
    study = predicted_study({**WEAK, "oracle_clean": 0.9})
    made = comparison.compare_runs(study._replace(record=study.record.model_copy(update={"oracles": ["oracle_clean"]})))
    theirs = comparison.compare_runs(predicted_study(WEAK)).classes
    own = made.classes[made.classes["method"] != "oracle_clean"]
    assert own["q"].tolist() == theirs["q"].tolist()
    oracle = made.classes[made.classes["method"] == "oracle_clean"]
    assert len(oracle) == 2
    assert oracle[["p", "q"]].isna().all(axis=None)
    assert oracle["low"].notna().all()


def test_images_of_a_group_count_together() -> None:
    study = predicted_study(WEAK)
    d, groups = image_differences_by_hand(study, "hinton"), np.arange(60) // 6
    record = study.record.model_copy(update={"test_groups": pack_groups(groups)})
    row = comparison.compare_runs(study._replace(record=record)).verdicts.loc["hinton"]
    theirs = crossed_test(d, np.arange(60) % 2, groups)
    assert row[["difference", "low", "high", "p"]].astype(float).tolist() == pytest.approx(
        [float(theirs.mean), float(theirs.low), float(theirs.high), float(theirs.p)]
    )
    assert theirs.p != pytest.approx(crossed_test(d, np.arange(60) % 2).p)
