"""Several studies side by side."""

import numpy as np
import pytest

from robustkd.evaluation.ranks import critical_difference
from robustkd.study import comparison
from robustkd.study.across import compare_studies, count_verdicts, study_labels
from robustkd.study.comparison import Comparison
from robustkd.study.results import LoadedStudy
from tests.records import change_results, make_net, make_record
from tests.study.example_studies import example_study, predicted_study, run_result


def short_study(scenario: str, lift: dict[str, float]) -> Comparison:
    """Return a study of five seeds in which each method is better than 0.5 by a constant."""
    results = [run_result("student", m, s, 0.5 + lift[m] + s / 100, 0.5 + lift[m]) for m in lift for s in range(5)]
    results.append(run_result("teacher", "baseline+ce", 0, 0.99, 0.99))
    return comparison.compare_runs(LoadedStudy(make_record([*lift], 5, {"scenario": scenario}), results, {}))


def test_ranks_are_averaged_over_the_studies_that_have_the_method() -> None:
    studies = compare_studies(
        [
            short_study("clean", {"baseline": 0.0, "hinton": 0.1, "sp": 0.1}),
            short_study("noise0.4", {"baseline": 0.2, "hinton": 0.1}),
        ]
    )
    # sp is in one of them only. clean: hinton 1, baseline 2. noise0.4: baseline 1, hinton 2.
    assert studies.ranks["rank"].to_dict() == {"hinton": 1.5, "baseline": 1.5}
    assert studies.ranks["studies"].to_dict() == {"hinton": 2, "baseline": 2}
    noisy = studies.table[studies.table["study"] == "noise0.4"].set_index("method")
    assert noisy["best"].to_dict() == {"teacher": False, "baseline": True, "hinton": False}, "a teacher takes no part"
    assert noisy["below"].to_dict() == {"teacher": False, "baseline": False, "hinton": True}
    assert noisy.loc["hinton", "verdict"] == "no difference shown", "one constant difference: a sign test of five"
    assert noisy.loc["hinton", "difference"] == pytest.approx(-0.1)


def test_a_verdict_is_shown_only_for_its_own_metric() -> None:
    study = comparison.compare_runs(example_study())
    by_metric = {
        name: compare_studies([study], name).table.set_index("method")
        for name in ("accuracy", "balanced_accuracy", "worst_recall")
    }
    assert by_metric["balanced_accuracy"].loc["hinton", "verdict"] == "better"
    assert by_metric["worst_recall"].loc["hinton", "verdict"] == ""


def test_studies_are_labelled_by_what_distinguishes_them() -> None:
    clean, noisy = (make_record(["baseline"], 1, {"scenario": name}) for name in ("clean", "noise0.4"))
    assert study_labels([clean, noisy]) == ["clean", "noise0.4"]
    longer = make_record(["baseline"], 1, {"scenario": "clean", "epochs": 60})
    assert study_labels([clean, longer]) == ["clean, epochs 30", "clean, epochs 60"]
    assert study_labels([clean, clean]) == ["clean (1)", "clean (2)"]
    pets = [make_record(["baseline"], 1, {"dataset": name}) for name in ("cats", "dogs")]
    assert study_labels(pets) == ["cats noise0.4", "dogs noise0.4"]


def test_options_that_do_not_distinguish_results_are_not_in_labels() -> None:
    one, other = (make_record(["baseline"], 1, {"jobs": jobs, "seeds": jobs}) for jobs in (1, 2))
    assert study_labels([one, other]) == ["noise0.4 (1)", "noise0.4 (2)"]


def test_the_smallest_value_is_best_where_lower_is_better() -> None:
    nll = {"baseline": 0.3, "hinton": 0.2, "sp": 0.4}
    study = example_study([*nll])
    study = change_results(study, lambda r: {"last": make_net(r.last.recall, nll=nll[r.run.method])})
    studies = compare_studies([comparison.compare_runs(study)], "nll")
    assert studies.ranks["rank"].to_dict() == {"hinton": 1, "baseline": 2, "sp": 3}
    table = studies.table.set_index("method")
    assert table.loc[list(nll), "best"].to_dict() == {"baseline": False, "hinton": True, "sp": False}
    assert table.loc[list(nll), "below"].to_dict() == {"baseline": False, "hinton": False, "sp": True}
    assert table.loc["sp", "difference"] == pytest.approx(0.1)


def test_differences_are_from_the_reference_on_request() -> None:
    made = compare_studies([comparison.compare_runs(example_study(["baseline", "hinton", "sp"]), reference="hinton")])
    lines = made.table.set_index("method")
    by_hand = lines["mean"] - lines.loc["hinton", "mean"]
    for method in ("baseline", "sp", "baseline, stopped early"):
        assert lines.loc[method, "difference"] == pytest.approx(by_hand[method])
    assert np.isnan(lines.loc["hinton", "difference"])
    assert lines.loc[["baseline", "hinton", "sp"], "verdict"].tolist() == ["worse", "", "worse"]


def test_a_method_that_is_not_finished_is_listed_but_not_ranked() -> None:
    study = example_study(["baseline", "hinton", "sp"])
    study = study._replace(results=[r for r in study.results if (r.run.method, r.run.seed) != ("hinton", 4)])
    studies = compare_studies([comparison.compare_runs(study)])
    assert set(studies.ranks.index) == {"baseline", "sp"}
    assert studies.table.set_index("method").loc["hinton", "seeds"] == 4


def test_a_study_without_the_metric_is_left_out() -> None:
    study = comparison.compare_runs(example_study(["baseline", "hinton"]))
    studies = compare_studies([study], "fgsm 8/255")
    assert len(studies.table) == len(studies.ranks) == 0


NOISE = [{"baseline": 0.0, "hinton": 0.1, "sp": 0.2}, {"baseline": 0.0, "hinton": 0.2, "sp": 0.1}]  # ranks 3 2 1, 3 1 2
IMBALANCE = [{"baseline": 0.2, "hinton": 0.1, "sp": 0.0}, {"baseline": 0.2, "hinton": 0.1, "sp": 0.0}]  # 1 2 3 twice


def test_ranks_are_averaged_over_each_family() -> None:
    studies = compare_studies(
        [short_study(f"s{place}", lift) for place, lift in enumerate(NOISE + IMBALANCE)],
        families=["label noise", "label noise", "imbalance", "imbalance"],
    )
    assert studies.families == ["label noise", "imbalance"]
    assert studies.ranks["label noise"].to_dict() == {"baseline": 3, "hinton": 1.5, "sp": 1.5}
    assert studies.ranks["imbalance"].to_dict() == {"baseline": 1, "hinton": 2, "sp": 3}
    assert studies.ranks["rank"].to_dict() == {"baseline": 2, "hinton": 1.75, "sp": 2.25}
    # Ranks of the averages 3 1.5 1.5 and 1 2 3: covariance -0.75, standard deviations sqrt(0.75) and 1.
    assert studies.agreement == pytest.approx(-0.75 / np.sqrt(0.75))
    assert not studies.has_common_rank
    assert studies.rank_tests["studies"].to_dict() == {"all": 4, "label noise": 2, "imbalance": 2}
    assert studies.rank_tests.loc["imbalance", "p"] == pytest.approx(1 / 6), "both of two studies rank alike"
    assert studies.rank_tests.loc["all", "critical_difference"] == critical_difference(3, 4)


def test_families_that_agree_have_a_common_rank() -> None:
    comparisons = [short_study(name, NOISE[0]) for name in ("one", "two", "three")]
    apart = compare_studies(comparisons, families=["clean", "label noise", "label noise"])
    assert apart.agreement == pytest.approx(1)
    assert apart.has_common_rank
    assert np.isnan(apart.rank_tests.loc["clean", "critical_difference"]), "of one study"
    together = compare_studies(comparisons, families=3 * ["clean"])
    assert together.families == []
    assert together.has_common_rank
    assert together.ranks.equals(compare_studies(comparisons).ranks)


def test_verdicts_over_all_studies_are_corrected_for_all_comparisons() -> None:
    """Against the definition of Holm's correction: the sorted p times what is left, the largest so far."""
    shares = {"baseline": 0.3, "hinton": 0.2, "dml": 0.29, "sp": 0.31}
    compared = [comparison.compare_runs(predicted_study(shares, images=n)) for n in (60, 100, 300, 1000)]
    assert count_verdicts(compared[:1]).comparisons == 3
    counted = count_verdicts(compared)
    assert counted.comparisons == 12
    p = [(p, verdict) for c in compared for p, verdict in zip(c.verdicts["p"], c.verdicts["verdict"], strict=True)]
    held, largest = [], 0.0
    for place, (value, verdict) in enumerate(sorted(p)):
        largest = max(largest, value * (12 - place))
        held.append(verdict in ("better", "worse") and largest < 0.05)
    assert counted.holding == sum(held)
    assert counted.verdicts == sum(verdict in ("better", "worse") for _, verdict in p)
    assert 0 < counted.holding <= counted.verdicts
    assert count_verdicts([]) == (0, 0, 0)


def test_what_a_study_compared_before_counts_over_all_studies_too() -> None:
    study = comparison.compare_runs(predicted_study({"baseline": 0.3, "hinton": 0.2}))
    more = study._replace(verdicts=study.verdicts.assign(among=7))
    assert count_verdicts([study, more]).comparisons == 8


def test_oracles_do_not_count_over_all_studies() -> None:
    shares = {"baseline": 0.3, "hinton": 0.2, "oracle_clean": 0.1}
    with_oracle = comparison.compare_runs(predicted_study(shares, oracles=["oracle_clean"]))
    assert count_verdicts(2 * [with_oracle]).comparisons == 2
