"""Metrics of predictions: values worked by hand, agreement with scikit-learn, and invariants."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import mannwhitneyu
from sklearn.metrics import balanced_accuracy_score, f1_score, precision_score, recall_score

from robustkd.evaluation import calibration, net_metrics
from robustkd.evaluation.results import NetMetrics
from tests.evaluation.predictions import one_hot_logits, random_predictions


def names(classes: int) -> tuple[str, ...]:
    return tuple(f"class {number}" for number in range(classes))


def evaluate(labels: np.ndarray, logits: np.ndarray, classes: tuple[str, ...], groups=()) -> dict:
    """The metrics as one flat dictionary."""
    made = net_metrics.evaluate_predictions(labels, logits, classes, groups)
    assert NetMetrics.model_validate_json(made.model_dump_json()) == made
    return {
        **made.metrics,
        **made.by_class,
        "support": made.support,
        "confusion": made.confusion,
        "groups": made.groups,
        "reliability": made.reliability,
    }


# Per class and overall


def test_a_small_case_by_hand() -> None:
    # a: 2 of 3 right, b: 1 of 1, c: none there but said once, d: neither there nor said.
    made = evaluate(np.array([0, 0, 0, 1]), one_hot_logits([0, 0, 2, 1], 4), ("a", "b", "c", "d"))
    assert made["accuracy"] == 0.75
    assert made["recall"] == pytest.approx({"a": 2 / 3, "b": 1, "c": None, "d": None})
    assert made["precision"] == {"a": 1.0, "b": 1.0, "c": 0.0, "d": None}
    assert made["f1"] == pytest.approx({"a": 0.8, "b": 1.0, "c": 0.0, "d": None})
    assert made["support"] == {"a": 3, "b": 1, "c": 0, "d": 0}
    assert made["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert made["worst_recall"] == pytest.approx(2 / 3)
    assert made["worst_three"] == pytest.approx((2 / 3 + 1) / 2), "there are but two"
    assert made["macro_f1"] == pytest.approx(0.9), "over the classes there are"
    assert made["confusion"] == {"a": {"a": 2, "c": 1}, "b": {"b": 1}}


def test_a_class_that_is_there_and_never_said_has_no_precision_and_an_f1_of_0() -> None:
    made = evaluate(np.array([0, 1]), one_hot_logits([0, 0], 2), ("a", "b"))
    assert (made["recall"]["b"], made["precision"]["b"], made["f1"]["b"]) == (0.0, None, 0.0)


@pytest.mark.parametrize("classes", [2, 6, 100])
def test_figures_are_those_that_scikit_learn_has_for_each(classes: int) -> None:
    labels, logits = random_predictions(3000, classes)
    predicted = logits.argmax(axis=1)
    made = evaluate(labels, logits, names(classes))
    assert made["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert made["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    for figure, score in (("recall", recall_score), ("precision", precision_score), ("f1", f1_score)):
        for number in (0, classes - 1):
            expected = score(labels == number, predicted == number)
            assert made[figure][f"class {number}"] == pytest.approx(expected), figure
    assert sum(made["support"].values()) == 3000


def test_groups_are_mean_recalls_of_the_classes_that_have_samples() -> None:
    labels = np.array([0, 0, 1, 1, 2, 2])
    by = np.array(["many", "many", "few", "medium"]), np.array(["head", "middle", "middle", "tail"])
    made = evaluate(labels, one_hot_logits([0, 0, 1, 0, 1, 1], 4), names(4), by)
    expected = {"many": 0.75, "few": 0.0, "medium": None, "head": 1.0, "middle": 0.25, "tail": None}
    assert made["groups"] == expected, "a group whose classes have no samples has no recall"
    assert evaluate(labels, one_hot_logits(labels, 4), names(4))["groups"] == {}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_have_no_probabilities_and_still_an_accuracy(bad: float) -> None:
    logits = one_hot_logits([0, 1, 1], 2)
    logits[0, 1] = bad
    made = evaluate(np.array([0, 1, 1]), logits, ("a", "b"))
    assert (made["nll"], made["brier"], made["ece"], made["reliability"]) == (None, None, None, [])
    assert made["accuracy"] >= 2 / 3
    assert calibration.fit_temperature(np.array([0, 1, 1]), logits) is None
    scaled = calibration.apply_temperature(np.array([0, 1, 1]), logits, None)
    assert scaled.model_dump() == {"temperature": None, "nll": None, "ece": None}


# What must hold of any predictions


some = st.integers(2, 7).flatmap(
    lambda classes: st.integers(1, 30).flatmap(
        lambda n: st.tuples(
            arrays.arrays(np.int64, n, elements=st.integers(0, classes - 1)),
            arrays.arrays(np.float32, (n, classes), elements=st.floats(-30, 30, width=32)),
        )
    )
)


@given(some)
def test_figures_are_within_their_bounds(answer: tuple[np.ndarray, np.ndarray]) -> None:
    labels, logits = answer
    made = evaluate(labels, logits, names(logits.shape[1]))
    for figure in ("accuracy", "balanced_accuracy", "worst_recall", "worst_three", "macro_f1", "ece"):
        assert 0 <= made[figure] <= 1 + 1e-12
    assert made["worst_recall"] <= made["worst_three"] <= made["balanced_accuracy"] + 1e-12
    assert made["nll"] >= 0
    assert 0 <= made["brier"] <= 2
    assert sum(b.count for b in made["reliability"]) == len(labels)
    assert calibration.MIN_TEMPERATURE <= calibration.fit_temperature(labels, logits) <= calibration.MAX_TEMPERATURE


@given(some, st.integers(-50, 50), st.randoms(use_true_random=False))
def test_neither_the_order_of_rows_nor_what_is_added_to_a_row_matters(answer, added, random) -> None:
    labels, logits = answer
    order = list(range(len(labels)))
    random.shuffle(order)
    logits = logits.astype(np.float64)
    classes = names(logits.shape[1])
    one, other = evaluate(labels, logits, classes), evaluate(labels[order], logits[order] + added, classes)
    for figure in ("nll", "brier"):
        assert one[figure] == pytest.approx(other[figure], abs=1e-9)


def test_a_hundred_classes_and_ten_thousand_rows_take_well_below_a_second() -> None:
    labels, logits = random_predictions(10_000, 100)
    evaluate(labels, logits, names(100))  # what is imported is not counted
    started = time.process_time()
    evaluate(labels, logits, names(100))
    calibration.apply_temperature(labels, logits, calibration.fit_temperature(labels, logits))
    wrong = np.arange(10_000) % 3 == 0
    truth = np.where(wrong, (labels + 1) % 100, labels)
    net_metrics.evaluate_fit(logits.argmax(1), labels, truth, np.zeros(10_000, bool), logits[:, 0].astype(float))
    assert time.process_time() - started < 1


# Against the truth


def fit_metrics(*args, **kwargs) -> dict:
    made = net_metrics.evaluate_fit(*args, **kwargs)
    return {**made.model_dump(exclude={"metrics"}), **made.metrics}


def test_what_became_of_wrong_labels_by_hand() -> None:
    #                     memorised  recovered  neither  clean, fitted  clean, missed  unknown  foreign
    made = fit_metrics(
        predicted=np.array([1, 0, 2, 0, 1, 1, 2]),
        labels=np.array([1, 1, 1, 0, 0, 1, 2]),
        truth=np.array([0, 0, 0, 0, 0, -1, -1]),
        foreign=np.array([False] * 6 + [True]),
        loss=np.array([0.5, 2.0, 3.0, 0.1, 0.5, 9.0, 0.0]),
    )
    assert (made["known"], made["corrupted"], made["foreign"]) == (5, 3, 1)
    assert made["memorised"] == pytest.approx(1 / 3)
    assert made["recovered"] == pytest.approx(1 / 3)
    assert (made["clean_fit"], made["foreign_fitted"]) == (0.5, 1.0)
    assert made["loss_auroc"] == pytest.approx(5.5 / 6), (
        "of 3 x 2 pairs one is a tie; the unknown and the foreign do not count"
    )


def test_the_loss_auroc_is_a_rank_test() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 4, 400)
    labels = np.where(random.random(400) < 0.3, (truth + 1) % 4, truth)
    loss = np.round(random.exponential(size=400) + (labels != truth), 1)  # with ties
    made = fit_metrics(truth, labels, truth, np.zeros(400, bool), loss)
    wrong = labels != truth
    u = mannwhitneyu(loss[wrong], loss[~wrong]).statistic
    assert made["loss_auroc"] == pytest.approx(u / (wrong.sum() * (~wrong).sum()))


def test_a_share_of_no_rows_is_absent_and_not_zero() -> None:
    none = np.array([False])
    made = fit_metrics(np.array([0]), np.array([0]), np.array([-1]), none, np.array([0.1]))
    shares = ("memorised", "recovered", "clean_fit", "foreign_fitted", "loss_auroc")
    assert {made[name] for name in shares} == {None}
    assert made["known"] == 0
    for truth in (np.array([0, 1]), np.array([1, 0])):  # all clean, all corrupted
        made = fit_metrics(np.array([0, 1]), np.array([0, 1]), truth, np.zeros(2, bool), np.ones(2))
        assert made["loss_auroc"] is None
    made = fit_metrics(*np.array([[0, 1], [0, 1], [0, 0]]), np.zeros(2, bool), np.array([0.1, np.nan]))
    assert made["loss_auroc"] is None


# Two networks


def test_agreement_is_a_share_of_rows() -> None:
    assert net_metrics.agreement(np.array([0, 1, 2, 2]), np.array([0, 2, 2, 2])) == 0.75
    assert net_metrics.agreement(np.zeros(0, int), np.zeros(0, int)) is None
