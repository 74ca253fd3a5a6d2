"""Confident learning on hand-made probabilities, the smallest class size after pruning, and detection scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustkd.label_audit import confident_learning
from robustkd.label_audit.confident_learning import DetectionScores, LabelIssues


def correct_probabilities(truth: list[int], classes: int, confidence: float = 0.9) -> np.ndarray:
    """Return probabilities of a net that predicts the truth, slightly more confident for later rows."""
    p = np.full((len(truth), classes), (1 - confidence) / (classes - 1))
    p[np.arange(len(truth)), truth] = confidence
    p += np.linspace(0, 0.01, len(truth))[:, None] * np.eye(classes)[truth]
    return p / p.sum(axis=1, keepdims=True)


TRUTH = [0] * 10 + [1] * 10 + [2] * 10


@pytest.fixture
def labels() -> np.ndarray:
    """Return labels with two rows of class 0 labelled 1 and all others correct."""
    labels = np.array(TRUTH)
    labels[[6, 8]] = 1
    return labels


def test_wrong_labels_are_found_and_the_right_ones_suggested(labels):
    issues = confident_learning.find_label_issues(labels, correct_probabilities(TRUTH, 3))
    assert np.flatnonzero(issues.is_issue).tolist() == [6, 8]
    assert issues.suggested[[6, 8]].tolist() == [0, 0]
    assert (issues.suggested != labels).all()
    assert issues.rank_rows().tolist() == [8, 6]  # higher confidence gives a lower quality
    assert (issues.quality[[6, 8]] < 0.5).all()


def test_rows_are_true_classes_and_columns_given_labels(labels):
    issues = confident_learning.find_label_issues(labels, correct_probabilities(TRUTH, 3))
    assert issues.joint.tolist() == [[8, 2, 0], [0, 10, 0], [0, 0, 10]]
    assert np.allclose(issues.transition_matrix, [[0.8, 0.2, 0], [0, 1, 0], [0, 0, 1]])
    assert np.allclose(issues.noise_rates, [0, 2 / 12, 0])
    assert issues.noise_rate == pytest.approx(2 / 30)


def test_issues_are_ranked_by_margin():
    random = np.random.default_rng(0)
    labels, probabilities = random.integers(0, 4, 200), random.dirichlet(np.full(4, 0.3), 200)
    issues = confident_learning.find_label_issues(labels, probabilities)
    margins = []
    for row in issues.rank_rows():
        others = [probabilities[row, k] for k in range(4) if k != labels[row]]
        assert issues.suggested[row] == max(
            (k for k in range(4) if k != labels[row]), key=lambda k: probabilities[row, k]
        )
        margins.append(probabilities[row, labels[row]] - max(others))
    assert len(margins) > 20
    assert margins == sorted(margins)
    assert max(margins) < 0


def test_an_empty_class(labels):
    issues = confident_learning.find_label_issues(labels, correct_probabilities(TRUTH, 4))
    assert issues.transition_matrix[3].tolist() == [0, 0, 0, 1]
    assert np.isnan(issues.noise_rates[3])
    assert np.flatnonzero(issues.is_issue).tolist() == [6, 8]


def test_rows_that_cannot_be_assessed_are_excluded(labels):
    assessable = np.ones(30, bool)
    assessable[[8, 28, 29]] = False
    issues = confident_learning.find_label_issues(labels, correct_probabilities(TRUTH, 3), assessable)
    assert np.flatnonzero(issues.is_issue).tolist() == [6]
    assert np.flatnonzero(np.isnan(issues.quality)).tolist() == [8, 28, 29]
    assert issues.joint.tolist() == [[8, 1, 0], [0, 10, 0], [0, 0, 8]]
    none = confident_learning.find_label_issues(labels, correct_probabilities(TRUTH, 3), np.zeros(30, bool))
    assert not none.is_issue.any()
    assert np.isnan(none.noise_rate)
    assert (none.transition_matrix == np.eye(3)).all()


def test_no_rows():
    issues = confident_learning.find_label_issues(np.empty(0, np.int64), np.empty((0, 3), np.float32))
    assert not len(issues.rank_rows())
    assert np.isnan(issues.noise_rates).all()


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 5), st.booleans()), max_size=40),
    keep=st.integers(1, 12),
)
def test_no_class_falls_below_the_smallest_size(rows, keep):
    labels = np.array([row[0] for row in rows], np.int64)
    wrong = np.array([row[1] for row in rows], bool)
    quality = np.array([row[2] / 10 for row in rows])
    issues = LabelIssues(wrong, (labels + 1) % 4, quality, np.zeros((4, 4)))
    within = np.array([row[3] for row in rows], bool)
    removed = confident_learning.select_removable(issues, labels, keep, within)
    assert not removed[~within].any()
    for number in range(4):  # the worst rows leave one by one while the class is large enough
        left = [i for i in range(len(rows)) if labels[i] == number and within[i]]
        queue, expected = sorted((i for i in left if wrong[i]), key=lambda i: (quality[i], i)), []
        while queue and len(left) - len(expected) > keep:
            expected.append(queue.pop(0))
        assert sorted(expected) == [i for i in left if removed[i]]
    relabelled = np.where(removed, issues.suggested, labels)
    before, after = (np.bincount(every[within], minlength=4) for every in (labels, relabelled))
    assert (after >= np.minimum(before, keep)).all()


def test_detection_is_scored_where_the_truth_is_known():
    wrong, labels = np.array([1, 1, 0, 0, 1], bool), np.array([0, 1, 1, 0, 1])
    truth = np.array([1, 1, 0, 0, -1])  # the last row is flagged, but its truth is unknown
    scores = confident_learning.score_detection(wrong, labels, truth)
    assert scores == DetectionScores(rows=4, errors=2, flagged=2, true_positives=1)
    assert (scores.precision, scores.recall) == (0.5, 0.5)
    assert confident_learning.score_detection(wrong, labels, None) is None
    assert confident_learning.score_detection(wrong, labels, np.full(5, -1)) is None
    perfect = confident_learning.score_detection(np.zeros(5, bool), labels, labels)
    assert (perfect.precision, perfect.recall) == (None, None)
