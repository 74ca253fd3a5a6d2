"""Confident learning over hand-made probabilities, the floor under pruning, and suspicions beside the truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustkd.label_audit import confident_learning
from robustkd.label_audit.confident_learning import DetectionScores, LabelIssues


def sure(truth: list[int], classes: int, confidence: float = 0.9) -> np.ndarray:
    """What a net says that knows the truth, a little surer of later rows."""
    p = np.full((len(truth), classes), (1 - confidence) / (classes - 1))
    p[np.arange(len(truth)), truth] = confidence
    p += np.linspace(0, 0.01, len(truth))[:, None] * np.eye(classes)[truth]
    return p / p.sum(axis=1, keepdims=True)


TRUTH = [0] * 10 + [1] * 10 + [2] * 10


@pytest.fixture
def labels() -> np.ndarray:
    """Two of class 0 are given as 1, and nothing else is wrong."""
    labels = np.array(TRUTH)
    labels[[6, 8]] = 1
    return labels


def test_wrong_labels_are_found_and_the_right_ones_suggested(labels):
    verdict = confident_learning.find_label_issues(labels, sure(TRUTH, 3))
    assert np.flatnonzero(verdict.is_issue).tolist() == [6, 8]
    assert verdict.suggested[[6, 8]].tolist() == [0, 0]
    assert (verdict.suggested != labels).all()
    assert verdict.rank_rows().tolist() == [8, 6]  # the surer net, the worse label
    assert (verdict.quality[[6, 8]] < 0.5).all()


def test_rows_are_true_classes_and_columns_labels_given(labels):
    verdict = confident_learning.find_label_issues(labels, sure(TRUTH, 3))
    assert verdict.joint.tolist() == [[8, 2, 0], [0, 10, 0], [0, 0, 10]]
    assert np.allclose(verdict.transition_matrix, [[0.8, 0.2, 0], [0, 1, 0], [0, 0, 1]])
    assert np.allclose(verdict.noise_rates, [0, 2 / 12, 0])
    assert verdict.noise_rate == pytest.approx(2 / 30)


def test_the_rank_is_by_margin():
    random = np.random.default_rng(0)
    labels, said = random.integers(0, 4, 200), random.dirichlet(np.full(4, 0.3), 200)
    verdict = confident_learning.find_label_issues(labels, said)
    margins = []
    for row in verdict.rank_rows():
        others = [said[row, k] for k in range(4) if k != labels[row]]
        assert verdict.suggested[row] == max((k for k in range(4) if k != labels[row]), key=lambda k: said[row, k])
        margins.append(said[row, labels[row]] - max(others))
    assert len(margins) > 20
    assert margins == sorted(margins)
    assert max(margins) < 0


def test_a_class_that_nobody_is_given_as(labels):
    verdict = confident_learning.find_label_issues(labels, sure(TRUTH, 4))
    assert verdict.transition_matrix[3].tolist() == [0, 0, 0, 1]
    assert np.isnan(verdict.noise_rates[3])
    assert np.flatnonzero(verdict.is_issue).tolist() == [6, 8]


def test_who_cannot_be_judged_is_left_out_on_both_sides(labels):
    judged = np.ones(30, bool)
    judged[[8, 28, 29]] = False
    verdict = confident_learning.find_label_issues(labels, sure(TRUTH, 3), judged)
    assert np.flatnonzero(verdict.is_issue).tolist() == [6]
    assert np.flatnonzero(np.isnan(verdict.quality)).tolist() == [8, 28, 29]
    assert verdict.joint.tolist() == [[8, 1, 0], [0, 10, 0], [0, 0, 8]]
    nobody = confident_learning.find_label_issues(labels, sure(TRUTH, 3), np.zeros(30, bool))
    assert not nobody.is_issue.any()
    assert np.isnan(nobody.noise_rate)
    assert (nobody.transition_matrix == np.eye(3)).all()


def test_nothing_at_all():
    verdict = confident_learning.find_label_issues(np.empty(0, np.int64), np.empty((0, 3), np.float32))
    assert not len(verdict.rank_rows())
    assert np.isnan(verdict.noise_rates).all()


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 5), st.booleans()), max_size=40),
    keep=st.integers(1, 12),
)
def test_no_class_falls_below_the_floor(rows, keep):
    labels = np.array([row[0] for row in rows], np.int64)
    wrong = np.array([row[1] for row in rows], bool)
    quality = np.array([row[2] / 10 for row in rows])
    verdict = LabelIssues(wrong, (labels + 1) % 4, quality, np.zeros((4, 4)))
    among = np.array([row[3] for row in rows], bool)
    gone = confident_learning.select_removable(verdict, labels, keep, among)
    assert not gone[~among].any()
    for number in range(4):  # the worst leave one by one while the class is large enough
        left = [i for i in range(len(rows)) if labels[i] == number and among[i]]
        queue, expected = sorted((i for i in left if wrong[i]), key=lambda i: (quality[i], i)), []
        while queue and len(left) - len(expected) > keep:
            expected.append(queue.pop(0))
        assert sorted(expected) == [i for i in left if gone[i]]
    relabelled = np.where(gone, verdict.suggested, labels)
    before, after = (np.bincount(every[among], minlength=4) for every in (labels, relabelled))
    assert (after >= np.minimum(before, keep)).all()


def test_beside_the_truth_where_it_is_known():
    wrong, labels = np.array([1, 1, 0, 0, 1], bool), np.array([0, 1, 1, 0, 1])
    truth = np.array([1, 1, 0, 0, -1])  # the last is found, and nobody knows whether it is wrong
    found = confident_learning.score_detection(wrong, labels, truth)
    assert found == DetectionScores(rows=4, errors=2, flagged=2, true_positives=1)
    assert (found.precision, found.recall) == (0.5, 0.5)
    assert confident_learning.score_detection(wrong, labels, None) is None
    assert confident_learning.score_detection(wrong, labels, np.full(5, -1)) is None
    spotless = confident_learning.score_detection(np.zeros(5, bool), labels, labels)
    assert (spotless.precision, spotless.recall) == (None, None)
