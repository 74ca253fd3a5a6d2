"""Whether an estimate of label noise can be believed: strong and weak models on labels with and without errors."""

import numpy as np
import pytest

from robustkd.label_audit.confident_learning import find_label_issues
from robustkd.label_audit.reliability import Reliability, assess_reliability

CLASSES = 5


def simulate(count: int, hard: float, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and the probabilities of a calibrated model, which cannot tell the classes of the hard images.

    Args:
        count: number of images.
        hard: share of the images whose label the model guesses among three classes.
        noise: share of the labels that are wrong, at random.
    """
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.full(CLASSES, 0.02), count)
    guessed = random.random(count) < hard
    probabilities[guessed] = random.dirichlet(np.full(CLASSES, 2.0), int(guessed.sum()))
    truth = np.array([random.choice(CLASSES, p=row) for row in probabilities])
    wrong = random.random(count) < noise
    labels = np.where(wrong, (truth + random.integers(1, CLASSES, count)) % CLASSES, truth)
    # A model trained on these labels expects as many errors as they have.
    return labels, (1 - noise) * probabilities + noise / CLASSES


def assess(labels: np.ndarray, probabilities: np.ndarray) -> Reliability:
    return assess_reliability(labels, probabilities, find_label_issues(labels, probabilities).noise_rate)


@pytest.mark.parametrize("noise", [0.1, 0.2, 0.4])
@pytest.mark.parametrize("count", [1000, 4000])
def test_the_estimate_of_a_strong_model_on_wrong_labels_is_believable(count: int, noise: float) -> None:
    found = assess(*simulate(count, hard=0.02, noise=noise))
    assert found.estimate == pytest.approx(noise, abs=0.04)
    assert found.is_believable


@pytest.mark.parametrize("hard", [0.3, 0.6])
@pytest.mark.parametrize("count", [400, 4000])
def test_the_estimate_of_a_weak_model_on_correct_labels_is_not(count: int, hard: float) -> None:
    found = assess(*simulate(count, hard=hard, noise=0))
    assert found.estimate > 0.01
    assert found.is_accurate
    assert not found.is_believable


def test_an_inaccurate_model_is_not_believed_however_sure_it_is() -> None:
    random = np.random.default_rng(0)
    labels, predicted = random.integers(0, CLASSES, (2, 1000))
    found = assess(labels, 0.9 * np.eye(CLASSES)[predicted] + 0.1 / CLASSES)
    assert found.sure_disagreement >= found.estimate
    assert not found.is_accurate
    assert not found.is_believable


def test_the_surest_rows_are_those_of_each_predicted_class() -> None:
    # 1,000 rows each predicted as class 0 and 1; class 1 is predicted with less confidence, and its surest 100 are wrong.
    confidence = np.concatenate([np.linspace(0.9, 0.99, 1000), np.linspace(0.6, 0.7, 1000)])
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    probabilities[1000:] = probabilities[1000:, ::-1]
    labels = np.repeat([0, 1], 1000)
    labels[1900:] = 0
    found = assess_reliability(labels, probabilities, 0.05)
    assert (found.accuracy, found.sure_disagreement) == (0.95, 0.5)


def test_nothing_is_assessed_without_rows() -> None:
    found = assess_reliability(np.zeros(0, np.int64), np.zeros((0, 3)), float("nan"))
    assert np.isnan([found.accuracy, found.sure_disagreement, found.estimate]).all()
    assert not found.is_believable
