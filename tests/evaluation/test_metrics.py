"""Figures of answers: by hand, by scikit-learn, torchmetrics and torch, and by what must hold of any answers."""

import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import mannwhitneyu
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss, precision_score, recall_score
from torchmetrics.functional.classification import multiclass_calibration_error

from robustkd.evaluation import metrics


def sure(predicted: list[int] | np.ndarray, classes: int) -> np.ndarray:
    """Logits of a net that gives these classes."""
    return 4.0 * np.eye(classes, dtype=np.float32)[np.asarray(predicted)]


def drawn(n: int, classes: int, seed: int = 0, scale: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and logits that believe in them, more or less."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, n)
    logits = scale * (random.normal(size=(n, classes)) + np.eye(classes)[labels])
    return labels, logits.astype(np.float32)


def names(classes: int) -> tuple[str, ...]:
    return tuple(f"class {number}" for number in range(classes))


# Per class and overall


def test_a_small_case_by_hand() -> None:
    # a: 2 of 3 right, b: 1 of 1, c: none there but said once, d: neither there nor said.
    made = metrics.summary(np.array([0, 0, 0, 1]), sure([0, 0, 2, 1], 4), ("a", "b", "c", "d"))
    assert made["accuracy"] == 0.75
    assert made["recall"] == pytest.approx({"a": 2 / 3, "b": 1, "c": None, "d": None})
    assert made["precision"] == {"a": 1.0, "b": 1.0, "c": 0.0, "d": None}
    assert made["f1"] == pytest.approx({"a": 0.8, "b": 1.0, "c": 0.0, "d": None})
    assert made["support"] == {"a": 3, "b": 1, "c": 0, "d": 0}
    assert made["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert made["worst_recall"] == pytest.approx(2 / 3)
    assert made["worst_three"] == pytest.approx((2 / 3 + 1) / 2), "there are but two"
    assert made["macro_f1"] == pytest.approx(0.9), "over the classes there are"
    assert made["confusion"] == [[2, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_a_class_that_is_there_and_never_said_has_no_precision_and_an_f1_of_0() -> None:
    made = metrics.summary(np.array([0, 1]), sure([0, 0], 2), ("a", "b"))
    assert (made["recall"]["b"], made["precision"]["b"], made["f1"]["b"]) == (0.0, None, 0.0)


def test_the_worst_three_are_the_least_recalls() -> None:
    labels = np.repeat(np.arange(5), 10)
    right = np.concatenate([np.arange(10) < k for k in (9, 1, 4, 10, 7)])
    made = metrics.summary(labels, sure(np.where(right, labels, (labels + 1) % 5), 5), names(5))
    assert made["worst_three"] == pytest.approx((0.1 + 0.4 + 0.7) / 3)
    assert made["worst_recall"] == pytest.approx(0.1)


@pytest.mark.parametrize("classes", [2, 6, 100])
def test_figures_are_those_that_scikit_learn_has_for_each(classes: int) -> None:
    labels, logits = drawn(3000, classes)
    predicted = logits.argmax(axis=1)
    made = metrics.summary(labels, logits, names(classes))
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
    made = metrics.summary(labels, sure([0, 0, 1, 0, 1, 1], 4), names(4), by)
    expected = {"many": 0.75, "few": 0.0, "medium": None, "head": 1.0, "middle": 0.25, "tail": None}
    assert made["groups"] == expected, "a group whose classes have no samples has no recall"
    assert metrics.summary(labels, sure(labels, 4), names(4))["groups"] == {}


# Calibration


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_calibration_is_that_of_scikit_learn_torch_and_torchmetrics(classes: int) -> None:
    labels, logits = drawn(2000, classes)
    made = metrics.calibration(labels, logits)
    exact = torch.from_numpy(logits).double()
    probabilities = exact.softmax(dim=1)
    assert made["nll"] == pytest.approx(log_loss(labels, probabilities, labels=np.arange(classes)))
    assert made["nll"] == pytest.approx(float(torch.nn.functional.cross_entropy(exact, torch.from_numpy(labels))))
    ece = multiclass_calibration_error(probabilities, torch.from_numpy(labels), classes, n_bins=15, norm="l1")
    assert made["ece"] == pytest.approx(float(ece), abs=1e-6)
    apart = [(p - torch.eye(classes)[y]).square().sum() for p, y in zip(probabilities, labels, strict=True)]
    assert made["brier"] == pytest.approx(float(torch.stack(apart).mean()))


def of(*confidences: float) -> np.ndarray:
    """Logits of two classes, the first as probable as said."""
    return np.log([[c, 1 - c] for c in confidences])


def test_a_probability_too_small_for_its_logarithm_still_has_a_loss() -> None:
    logits = np.array([[0, 2000], [90, 0]], dtype=np.float32)
    made = metrics.calibration(np.array([0, 0]), logits)
    assert made["nll"] == 1000
    assert made["brier"] == 1.0


def test_two_bins_that_keep_what_they_promise_have_no_error() -> None:
    # 4 of 5 right at 0.8, 9 of 10 right at 0.9
    labels = np.array([1, *[0] * 4, 1, *[0] * 9])
    made = metrics.calibration(labels, of(*[0.8] * 5, *[0.9] * 10))
    assert made["ece"] == pytest.approx(0, abs=1e-12)
    filled = [b for b in made["reliability"] if b["count"]]
    assert [(b["count"], round(b["confidence"], 9), round(b["accuracy"], 9)) for b in filled] == [
        (5, 0.8, 0.8),
        (10, 0.9, 0.9),
    ]
    assert len(made["reliability"]) == 15
    empty = made["reliability"][0]
    assert empty == {"low": 0.0, "high": pytest.approx(1 / 15), "count": 0, "confidence": None, "accuracy": None}


def test_the_error_by_hand() -> None:
    # One bin of four at 0.8 with two right: a gap of 0.3; another of six at 0.6 with all right: 0.4.
    labels = np.array([0, 0, 1, 1, *[0] * 6])
    assert metrics.calibration(labels, of(*[0.8] * 4, *[0.6] * 6))["ece"] == pytest.approx(0.4 * 0.3 + 0.6 * 0.4)


def test_an_edge_belongs_to_the_bin_below_and_certainty_to_the_last() -> None:
    edge = np.linspace(0, 1, 16)[12]
    bins = metrics.reliability(np.array([edge, 1.0]), np.array([True, True]))
    assert [number for number, b in enumerate(bins) if b["count"]] == [11, 14]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_have_no_probabilities_and_still_an_accuracy(bad: float) -> None:
    logits = sure([0, 1, 1], 2)
    logits[0, 1] = bad
    made = metrics.summary(np.array([0, 1, 1]), logits, ("a", "b"))
    assert (made["nll"], made["brier"], made["ece"], made["reliability"]) == (None, None, None, [])
    assert made["accuracy"] >= 2 / 3
    assert metrics.temperature(np.array([0, 1, 1]), logits) is None
    assert metrics.scaled(np.array([0, 1, 1]), logits, None) == {"temperature": None, "nll": None, "ece": None}


def labelled(logits: np.ndarray, seed: int = 1) -> np.ndarray:
    """Labels drawn from the probabilities."""
    gumbel = np.random.default_rng(seed).gumbel(size=logits.shape)
    return (logits + gumbel).argmax(axis=1)


def test_a_calibrated_net_needs_no_temperature_and_a_boasting_one_its_own() -> None:
    logits = np.random.default_rng(0).normal(size=(40_000, 5)) * 2
    labels = labelled(logits)
    for factor in (1.0, 3.0, 0.25):
        found = metrics.temperature(labels, factor * logits)
        assert found == pytest.approx(factor, rel=0.02)
        scaled = metrics.scaled(labels, factor * logits, found)
        assert scaled["ece"] == pytest.approx(0, abs=0.01)
        assert scaled["temperature"] == found


def test_no_other_temperature_has_a_lower_loss() -> None:
    labels, logits = drawn(500, 4, scale=7)
    best = metrics.scaled(labels, logits, metrics.temperature(labels, logits))["nll"]
    others = [log_loss(labels, torch.from_numpy(logits / t).double().softmax(1)) for t in np.geomspace(0.05, 20, 400)]
    assert best <= min(others) + 1e-9
    assert best == pytest.approx(min(others), abs=1e-3)


def test_a_temperature_does_not_run_off() -> None:
    labels = np.arange(30) % 3
    assert metrics.COLDEST <= metrics.temperature(labels, sure(labels, 3)) <= 0.1
    assert metrics.temperature(labels, sure(labels, 3) / 10) == pytest.approx(metrics.COLDEST, rel=1e-3)
    assert metrics.temperature(labels, sure((labels + 1) % 3, 3)) == pytest.approx(metrics.HOTTEST, rel=1e-3)


# What must hold of any answers


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
    made = metrics.summary(labels, logits, names(logits.shape[1]))
    for figure in ("accuracy", "balanced_accuracy", "worst_recall", "worst_three", "macro_f1", "ece"):
        assert 0 <= made[figure] <= 1 + 1e-12
    assert made["worst_recall"] <= made["worst_three"] <= made["balanced_accuracy"] + 1e-12
    assert made["nll"] >= 0
    assert 0 <= made["brier"] <= 2
    assert sum(b["count"] for b in made["reliability"]) == len(labels)
    assert metrics.COLDEST <= metrics.temperature(labels, logits) <= metrics.HOTTEST


@given(some, st.integers(-50, 50), st.randoms(use_true_random=False))
def test_neither_the_order_of_rows_nor_what_is_added_to_a_row_matters(answer, added, random) -> None:
    labels, logits = answer
    order = list(range(len(labels)))
    random.shuffle(order)
    logits = logits.astype(np.float64)
    one, other = (metrics.calibration(*each) for each in ((labels, logits), (labels[order], logits[order] + added)))
    for figure in ("nll", "brier"):
        assert one[figure] == pytest.approx(other[figure], abs=1e-9)


@given(st.integers(2, 6), st.integers(1, 8), st.data())
def test_balanced_accuracy_is_accuracy_where_classes_are_of_one_size(classes: int, each: int, data) -> None:
    labels = np.repeat(np.arange(classes), each)
    predicted = data.draw(arrays.arrays(np.int64, classes * each, elements=st.integers(0, classes - 1)))
    made = metrics.summary(labels, sure(predicted, classes), names(classes))
    assert made["balanced_accuracy"] == pytest.approx(made["accuracy"])


def test_a_hundred_classes_and_ten_thousand_rows_take_well_below_a_second() -> None:
    labels, logits = drawn(10_000, 100)
    metrics.summary(labels, logits, names(100))  # what is imported is not counted
    started = time.process_time()
    metrics.summary(labels, logits, names(100))
    metrics.scaled(labels, logits, metrics.temperature(labels, logits))
    wrong = np.arange(10_000) % 3 == 0
    truth = np.where(wrong, (labels + 1) % 100, labels)
    metrics.against_truth(logits.argmax(1), labels, truth, np.zeros(10_000, bool), logits[:, 0].astype(float))
    assert time.process_time() - started < 1


# Against the truth


def test_what_became_of_wrong_labels_by_hand() -> None:
    #                     memorised  recovered  neither  clean, fitted  clean, missed  unknown  foreign
    made = metrics.against_truth(
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
    made = metrics.against_truth(truth, labels, truth, np.zeros(400, bool), loss)
    wrong = labels != truth
    u = mannwhitneyu(loss[wrong], loss[~wrong]).statistic
    assert made["loss_auroc"] == pytest.approx(u / (wrong.sum() * (~wrong).sum()))


def test_a_share_of_no_rows_is_absent_and_not_zero() -> None:
    none = np.array([False])
    made = metrics.against_truth(np.array([0]), np.array([0]), np.array([-1]), none, np.array([0.1]))
    shares = ("memorised", "recovered", "clean_fit", "foreign_fitted", "loss_auroc")
    assert {made[name] for name in shares} == {None}
    assert made["known"] == 0
    for truth in (np.array([0, 1]), np.array([1, 0])):  # all clean, all corrupted
        made = metrics.against_truth(np.array([0, 1]), np.array([0, 1]), truth, np.zeros(2, bool), np.ones(2))
        assert made["loss_auroc"] is None
    made = metrics.against_truth(*np.array([[0, 1], [0, 1], [0, 0]]), np.zeros(2, bool), np.array([0.1, np.nan]))
    assert made["loss_auroc"] is None


# Two nets


def test_agreement_is_a_share_of_rows() -> None:
    assert metrics.agreement(np.array([0, 1, 2, 2]), np.array([0, 2, 2, 2])) == 0.75
    assert metrics.agreement(np.zeros(0, int), np.zeros(0, int)) is None


@given(arrays.arrays(np.int64, st.integers(0, 50), elements=st.integers(0, 65535)))
def test_what_is_packed_is_a_plain_text_that_comes_back(predicted: np.ndarray) -> None:
    text = metrics.packed(predicted)
    assert text.isascii()
    assert '"' not in text
    np.testing.assert_array_equal(metrics.unpacked(text), predicted)


def said(measured: str, **rows: list[int]) -> dict[str, object]:
    return {"measured": measured, "answers": {what: metrics.packed(np.array(p)) for what, p in rows.items()}}


def test_two_results_tell_how_far_their_nets_agree() -> None:
    teacher = said("now", test=[0, 1, 1, 0], corrupted=[2, 2])
    assert metrics.agreements(said("now", test=[0, 1, 0, 0], corrupted=[2, 1]), teacher) == {
        "test": 0.75,
        "corrupted": 0.5,
    }
    assert metrics.agreements(said("before", test=[0, 1, 0, 0], corrupted=[2, 1]), teacher) is None
    assert metrics.agreements(said("now", test=[0, 1], corrupted=[2, 1]), teacher) is None, "of other rows"
    assert metrics.agreements({"measured": "now"}, teacher) is None, "measured by an earlier version"


def test_students_are_told_of_their_own_seeds_teacher_and_keep_what_they_have() -> None:
    runs = [
        {"cell": {"role": "student", "seed": 1}, **said("now", test=[0, 1])},
        {"cell": {"role": "teacher", "seed": 0}, **said("now", test=[2, 2])},
        {"cell": {"role": "teacher", "seed": 1}, **said("now", test=[0, 1])},
        {"cell": {"role": "student", "seed": 0}, **said("now", test=[2, 1]), "agreement": {"test": 0.125}},
        {"cell": {"role": "student", "seed": 2}, **said("now", test=[2, 1])},
    ]
    made = metrics.add_teacher_agreement(runs)
    assert [run.get("agreement") for run in made] == [{"test": 1.0}, None, None, {"test": 0.125}, None]
    assert "agreement" not in runs[0], "what is handed in is left alone"
