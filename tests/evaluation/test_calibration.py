"""Calibration: values worked by hand, and agreement with scikit-learn, torch and torchmetrics."""

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from robustkd.evaluation import calibration
from robustkd.evaluation.calibration import MAX_TEMPERATURE, MIN_TEMPERATURE, apply_temperature, fit_temperature


def calibrate(labels: np.ndarray, logits: np.ndarray) -> dict:
    """NLL, Brier score, ECE and the bins behind it."""
    log_p = calibration.log_probabilities(logits)
    bins = calibration.reliability_bins(labels, log_p)
    return {
        "nll": calibration.negative_log_likelihood(labels, log_p),
        "brier": calibration.brier_score(labels, log_p),
        "ece": calibration.expected_calibration_error(bins),
        "reliability": bins,
    }


def sure(predicted: list[int] | np.ndarray, classes: int) -> np.ndarray:
    """Logits of a net that gives these classes."""
    return 4.0 * np.eye(classes, dtype=np.float32)[np.asarray(predicted)]


def drawn(n: int, classes: int, seed: int = 0, scale: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and logits that believe in them, more or less."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, n)
    logits = scale * (random.normal(size=(n, classes)) + np.eye(classes)[labels])
    return labels, logits.astype(np.float32)


# Reference implementations


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_calibration_is_that_of_scikit_learn_torch_and_torchmetrics(classes: int) -> None:
    labels, logits = drawn(2000, classes)
    made = calibrate(labels, logits)
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
    made = calibrate(np.array([0, 0]), logits)
    assert made["nll"] == 1000
    assert made["brier"] == 1.0


def test_two_bins_that_keep_what_they_promise_have_no_error() -> None:
    # 4 of 5 right at 0.8, 9 of 10 right at 0.9
    labels = np.array([1, *[0] * 4, 1, *[0] * 9])
    made = calibrate(labels, of(*[0.8] * 5, *[0.9] * 10))
    assert made["ece"] == pytest.approx(0, abs=1e-12)
    filled = [b for b in made["reliability"] if b.count]
    assert [(b.count, round(b.confidence, 9), round(b.accuracy, 9)) for b in filled] == [
        (5, 0.8, 0.8),
        (10, 0.9, 0.9),
    ]
    assert len(made["reliability"]) == 15
    empty = made["reliability"][0]
    assert empty.model_dump() == {
        "low": 0.0,
        "high": pytest.approx(1 / 15),
        "count": 0,
        "confidence": None,
        "accuracy": None,
    }


def test_the_error_by_hand() -> None:
    # One bin of four at 0.8 with two right: a gap of 0.3; another of six at 0.6 with all right: 0.4.
    labels = np.array([0, 0, 1, 1, *[0] * 6])
    assert calibrate(labels, of(*[0.8] * 4, *[0.6] * 6))["ece"] == pytest.approx(0.4 * 0.3 + 0.6 * 0.4)


def test_an_edge_belongs_to_the_bin_below_and_certainty_to_the_last() -> None:
    edge = np.linspace(0, 1, 16)[12]
    bins = calibration.reliability_bins(np.array([0, 0]), np.log([[edge, 1 - edge], [1.0, 1e-300]]))
    assert [number for number, b in enumerate(bins) if b.count] == [11, 14]


def labelled(logits: np.ndarray, seed: int = 1) -> np.ndarray:
    """Labels drawn from the probabilities."""
    gumbel = np.random.default_rng(seed).gumbel(size=logits.shape)
    return (logits + gumbel).argmax(axis=1)


def test_a_calibrated_net_needs_no_temperature_and_a_boasting_one_its_own() -> None:
    logits = np.random.default_rng(0).normal(size=(40_000, 5)) * 2
    labels = labelled(logits)
    for factor in (1.0, 3.0, 0.25):
        found = fit_temperature(labels, factor * logits)
        assert found == pytest.approx(factor, rel=0.02)
        scaled = apply_temperature(labels, factor * logits, found)
        assert scaled.ece == pytest.approx(0, abs=0.01)
        assert scaled.temperature == found


def test_no_other_temperature_has_a_lower_loss() -> None:
    labels, logits = drawn(500, 4, scale=7)
    best = apply_temperature(labels, logits, fit_temperature(labels, logits)).nll
    others = [log_loss(labels, torch.from_numpy(logits / t).double().softmax(1)) for t in np.geomspace(0.05, 20, 400)]
    assert best <= min(others) + 1e-9
    assert best == pytest.approx(min(others), abs=1e-3)


def test_a_temperature_does_not_run_off() -> None:
    labels = np.arange(30) % 3
    assert MIN_TEMPERATURE <= fit_temperature(labels, sure(labels, 3)) <= 0.1
    assert fit_temperature(labels, sure(labels, 3) / 10) == pytest.approx(MIN_TEMPERATURE, rel=1e-3)
    assert fit_temperature(labels, sure((labels + 1) % 3, 3)) == pytest.approx(MAX_TEMPERATURE, rel=1e-3)
