"""The score of a race: balanced accuracy by row, its order under label noise, and the noise of differences."""

import numpy as np
import pytest

from robustkd.selection.score import compare_scores, weighted_correctness


def test_the_mean_over_rows_is_balanced_accuracy(rng: np.random.Generator) -> None:
    labels = rng.integers(0, 4, 50)
    predicted = np.stack([np.where(rng.random(50) < share, labels, 0) for share in (0.3, 0.9)])
    recalls = [
        np.mean([np.mean([p == c for p in epoch[labels == c]]) for c in np.unique(labels)]) for epoch in predicted
    ]
    assert weighted_correctness(predicted, labels).mean() == pytest.approx(np.mean(recalls))


def test_classes_without_rows_do_not_count() -> None:
    labels = np.array([0, 0, 3])
    assert weighted_correctness(labels[None], labels).mean() == pytest.approx(1)


@pytest.mark.parametrize("rate", [0.2, 0.4, 0.6])
def test_symmetric_noise_keeps_the_order_of_networks(rng: np.random.Generator, rate: float) -> None:
    truth = rng.integers(0, 10, 200_000)
    noisy = np.where(rng.random(len(truth)) < rate, (truth + rng.integers(1, 10, len(truth))) % 10, truth)
    scores = []
    for accuracy in (0.7, 0.75, 0.8):
        predicted = np.where(rng.random(len(truth)) < accuracy, truth, (truth + 1) % 10)
        scores.append(weighted_correctness(predicted[None], noisy).mean())
        expected = accuracy * (1 - rate) + (1 - accuracy) * rate / 9
        assert scores[-1] == pytest.approx(expected, abs=0.006)
    assert scores == sorted(scores)


def test_the_leader_is_behind_nobody_for_certain(rng: np.random.Generator) -> None:
    correct = rng.random((4, 2, 30))
    correct[2] += 1
    standings = compare_scores(correct.swapaxes(0, 1))
    assert standings.behind.argmin() == 2
    assert standings.behind[2] == standings.noise[2] == 0
    assert standings.behind == pytest.approx(standings.score[2] - standings.score)


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_the_noise_is_that_of_repeated_draws(rng: np.random.Generator, seeds: int) -> None:
    """Of rows that suit a contender or not, and of what each training adds."""
    differences, noises = [], []
    for _ in range(400):
        suits, own = rng.normal(size=(6, 1, 80)), rng.normal(size=(6, seeds, 80))
        of_seed = 0.1 * rng.normal(size=(6, seeds, 1)) if seeds > 1 else 0
        correct = 0.5 + 0.2 * suits + 0.3 * own + of_seed
        correct[0] += 2  # leads in every draw
        standings = compare_scores(correct.swapaxes(0, 1))
        differences.append(standings.behind[1:] - 2)
        noises.append(standings.noise[1:])
    assert np.sqrt(np.mean(np.square(noises))) == pytest.approx(np.std(differences), rel=0.08)


def test_identical_contenders_are_not_apart() -> None:
    standings = compare_scores(np.ones((2, 3, 5)))
    assert not standings.behind.any()
    assert not standings.noise.any()


def test_a_single_contender_leads() -> None:
    assert compare_scores(np.ones((2, 1, 5))).noise.tolist() == [0]


def test_seeds_may_hold_out_different_numbers_of_rows(rng: np.random.Generator) -> None:
    """The scores are means of seeds, which count alike, and the noise is that of repeated draws of rows."""
    differences, noises = [], []
    for _ in range(400):
        correct = [0.5 + 0.4 * rng.normal(size=(6, rows)) for rows in (41, 36, 60)]
        for rows in correct:
            rows[0] += 2
        standings = compare_scores(correct)
        assert standings.score == pytest.approx(np.mean([rows.mean(axis=1) for rows in correct], axis=0))
        differences.append(standings.behind[1:] - 2)
        noises.append(standings.noise[1:])
    assert np.sqrt(np.mean(np.square(noises))) == pytest.approx(np.std(differences), rel=0.15)
