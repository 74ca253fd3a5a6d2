"""What a comparison says in sentences."""

import numpy as np
import pandas as pd
import pytest

from robustkd.evaluation.results import FitMetrics
from robustkd.study import comparison, conclusions
from robustkd.study.comparison import Comparison
from tests.records import change_results, make_net, make_record, make_result
from tests.study.example_studies import balanced_accuracies, example_study, run_result, with_noisy_test_labels


def test_verdicts_on_request_say_that_test_labels_are_treated_as_clean() -> None:
    compared = comparison.compare_runs(with_noisy_test_labels(0), trust=True)
    assert compared.verdicts["verdict"].tolist() == ["better"]
    assert "treated as clean, as requested" in conclusions.verdict_rule(compared)[0]


def test_a_gain_over_an_overtrained_baseline_only_is_reported_as_such() -> None:
    compared = comparison.compare_runs(example_study())
    assert compared.verdicts.loc["hinton", "difference_stopped"] == pytest.approx(
        np.mean(balanced_accuracies(example_study(), "hinton")) - 0.9
    )
    only = "only at the last epoch: where both are stopped early, the baseline does at least as well"
    assert conclusions.question_and_answer(compared)[1].startswith(
        "Better: baseline+balanced (+4.8 points), hinton (+4."
    )
    assert f"points), but {only};" in conclusions.question_and_answer(compared)[1]
    table = compared.verdicts.assign(verdict="better", difference_stopped=[0.01, 0.01, 0.0, -0.01])
    assert f"), but 2 of these {only} (" in conclusions.question_and_answer(compared._replace(verdicts=table))[1]
    like = table.assign(difference_early=[0.01, -0.01, 0.01, 0.01])
    assert f"), but 1 of these {only} (" in conclusions.question_and_answer(compared._replace(verdicts=like))[1], (
        "a method that was stopped early as well is compared like for like"
    )


def test_labels_that_are_not_known_to_be_right_may_be_noisy() -> None:
    partly = example_study(known_training=(40, 100))
    fit = FitMetrics(known=40, corrupted=0, foreign=0, metrics={})
    partly_known = comparison.compare_runs(change_results(partly, lambda r: {"fit": fit}))
    assert conclusions.may_have_noisy_training_labels(partly_known), "60 rows are not known"
    known = comparison.compare_runs(change_results(example_study(), lambda r: {"fit": fit}))
    assert not conclusions.may_have_noisy_training_labels(known)
    wrong = fit.model_copy(update={"corrupted": 1})
    assert conclusions.may_have_noisy_training_labels(
        comparison.compare_runs(change_results(example_study(), lambda r: {"fit": wrong}))
    )


def test_question_answer_and_rule_name_the_reference() -> None:
    made = comparison.compare_runs(example_study(), reference="hinton")
    question, answer = conclusions.question_and_answer(made)
    assert question == "Did any of 4 methods beat hinton on pets under noise0.4?"
    assert " from " not in answer.partition("(balanced accuracy")[0], "the question names it"
    assert "paired t test of balanced accuracy over the seeds against hinton," in conclusions.verdict_rule(made)[0]
    few = comparison.compare_runs(example_study(seeds=3), reference="hinton")
    assert "2 of 4 are above hinton on average, most of all " in conclusions.question_and_answer(few)[1]
    none = comparison.compare_runs(example_study(["baseline", "sp", "hinton"], seeds=3), reference="hinton")
    assert "none is above hinton on average, the closest is " in conclusions.question_and_answer(none)[1]
    lacking = none._replace(verdicts=none.verdicts.assign(difference=np.nan))
    assert conclusions.question_and_answer(lacking)[1].startswith("No method and hinton are both finished for any seed")


def with_verdicts(differences: dict[str, float], verdict: str = "better") -> Comparison:
    """Return a comparison with these differences from the baseline, none of which early stopping explains."""
    compared = comparison.compare_runs(example_study(["baseline", "hinton"]))
    row = compared.verdicts.loc["hinton"]
    table = pd.DataFrame(dict.fromkeys(differences, row)).T
    return compared._replace(
        verdicts=table.assign(difference=pd.Series(differences), verdict=verdict, difference_stopped=0.01)
    )


def test_an_answer_names_the_four_largest_differences_in_their_order() -> None:
    differences = {"a": 0.01, "b": 0.05, "c": 0.03, "d": 0.02, "e": 0.04, "f": 0.001}
    question, answer = conclusions.question_and_answer(with_verdicts(differences))
    assert question == "Did any of 6 methods beat plain training on pets under noise0.4?"
    methods = "b (+5.0 points), e (+4.0 points), c (+3.0 points), d (+2.0 points), and 2 more"
    assert answer == f"Better: {methods} (balanced accuracy, over seeds, on these test images only)."
    negative = {name: -value for name, value in differences.items()}
    _, answer = conclusions.question_and_answer(with_verdicts(negative, "worse"))
    assert answer.startswith("No method was shown to be better; worse: b (-5.0 points), e (-4.0 points)")


def test_an_answer_names_a_reference_that_is_not_plain_training() -> None:
    compared = with_verdicts({"hinton": 0.02, "hinton+gce": 0.05})
    table = compared.verdicts.assign(reference=["baseline", "baseline+gce"])
    _, answer = conclusions.question_and_answer(compared._replace(verdicts=table))
    assert answer.startswith("Better: hinton+gce (+5.0 points from baseline+gce), hinton (+2.0 points) (")
    few = table.assign(verdict="too few seeds")
    _, answer = conclusions.question_and_answer(compared._replace(verdicts=few))
    assert "most of all hinton+gce (+5.0 points of balanced accuracy from baseline+gce)" in answer


def test_a_question_about_one_method_is_answered_about_it() -> None:
    question, answer = conclusions.question_and_answer(comparison.compare_runs(example_study(["baseline", "hinton"])))
    assert question == "Did the method beat plain training on pets under noise0.4?"
    assert answer.startswith("Better: hinton (+")


def test_without_a_verdict_an_answer_claims_mean_differences_only() -> None:
    study = example_study(["baseline", "hinton", "sp"], seeds=3)
    early = change_results(study, lambda r: {"early": None})
    _, answer = conclusions.question_and_answer(comparison.compare_runs(early))
    assert answer.startswith("No verdict, because there are too few seeds: ")
    assert "are above their baseline on average, most of all hinton (+" in answer
    assert "stopped early" not in answer
    _, answer = conclusions.question_and_answer(comparison.compare_runs(study))
    assert answer.endswith("; but where both are stopped early, the baseline does as well as 1 of these.")
    worse = change_results(
        study, lambda r: {} if r.run.method == "baseline" else {"last": make_net({"cat": 0.1, "dog": 0.1})}
    )
    _, answer = conclusions.question_and_answer(comparison.compare_runs(worse))
    assert "none is above its baseline on average, the closest is" in answer


def test_test_labels_have_a_caveat_unless_they_are_known() -> None:
    assert conclusions.test_label_caveat(make_record(["baseline"], 1)) == ""
    unknown = make_record(["baseline"], 1, truth_known=False, known_test=(0, 80))
    assert conclusions.test_label_caveat(unknown) == "test labels as given: they are not known to be clean"
    partly = make_record(["baseline"], 1, truth_known=False, known_test=(20, 80))
    assert conclusions.test_label_caveat(partly).endswith("the clean part is 20 of 80 rows with a clean label")


def test_trust_in_test_labels_is_as_requested_now_or_else_by_the_study() -> None:
    for asked in (False, True):
        record = make_record(["baseline"], 1, {"trust_test_labels": asked})
        assert conclusions.trusts_test_labels(record) is asked
        assert conclusions.trusts_test_labels(record, trust=not asked) is not asked


def test_corruptions_are_undefined_where_they_were_measured_without_a_result() -> None:
    net = make_net({"cat": 0.5, "dog": 0.5})
    absent, undefined, measured = (
        make_result("student", "baseline", 0, net, corruptions=corruptions)
        for corruptions in (None, {}, {"noise": {"1": 0.5}})
    )
    assert conclusions.has_undefined_corruptions([absent, undefined])
    assert not conclusions.has_undefined_corruptions([absent, measured])


def test_a_teacher_shared_by_all_seeds_limits_the_interval() -> None:
    study = example_study()
    teacher = run_result("teacher", "baseline+ce", 0, 0.9, 0.9)
    shared = comparison.compare_runs(study._replace(results=[*study.results, teacher]))
    assert (
        "the randomness of training and scenario, for one teacher, on this test set"
        in conclusions.verdict_rule(shared)[1]
    )
    assert "one teacher" not in conclusions.verdict_rule(comparison.compare_runs(study))[1]


def test_copies_of_training_images_are_a_caveat_of_the_test_set() -> None:
    assert conclusions.test_set_caveats(make_record(["baseline"], 1)) == []
    leaks = ["2 of 10 test images have the same pixels as a training image"]
    record = make_record(["baseline"], 1, truth_known=False, known_test=(0, 80), leaks=leaks)
    assert conclusions.test_set_caveats(record) == ["test labels as given: they are not known to be clean", *leaks]
