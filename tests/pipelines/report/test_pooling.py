"""Results of a method pooled over its seeds."""

import numpy as np
import pytest

from pipelines.report.pooling import (
    describe_largest_errors,
    mean_recall,
    method_results,
    pool_bins,
    pool_confusion,
    row_shares,
)
from robustkd.evaluation.results import ReliabilityBin
from robustkd.study import comparison
from robustkd.study.comparison import Comparison
from robustkd.study.results import LoadedStudy
from tests.records import make_net, make_record, make_result


def compare_two_seeds() -> Comparison:
    """Compare a teacher and a student called baseline, two seeds each; without test rows of dogs in seed 1."""
    first, second = make_net({"cat": 0.5, "dog": 0.25}), make_net({"cat": 1.0, "dog": None}, [40, 0])
    counts = {"cat": {"cat": 20, "dog": 20}, "dog": {"cat": 30, "dog": 10}}
    first = first.model_copy(update={"confusion": counts})
    second = second.model_copy(update={"confusion": {"cat": {"cat": 40}}})
    runs = [make_result("student", "baseline", seed, net) for seed, net in enumerate((first, second))]
    runs += [make_result("teacher", "baseline", seed, make_net({"cat": 0.0, "dog": 0.0})) for seed in range(2)]
    return comparison.compare_runs(LoadedStudy(make_record(["baseline"], 2), runs, {}))


def test_results_of_a_teacher_of_the_same_method_are_not_pooled() -> None:
    results = method_results(compare_two_seeds(), "baseline")
    assert [(result.run.role, result.run.seed) for result in results] == [("student", 0), ("student", 1)]


def test_recall_is_the_mean_over_the_seeds_that_have_it() -> None:
    assert mean_recall(compare_two_seeds(), "baseline").to_dict() == {"cat": 0.75, "dog": 0.25}


def test_confusion_matrices_are_summed() -> None:
    compared = compare_two_seeds()
    pooled = pool_confusion(compared, "baseline")
    assert pooled is not None
    assert pooled.tolist() == [[60, 20], [30, 10]]
    assert pool_confusion(compared, "hinton") is None


def test_shares_of_an_empty_row_are_undefined() -> None:
    np.testing.assert_array_equal(row_shares(np.array([[3, 1], [0, 0]])), [[0.75, 0.25], [np.nan, np.nan]])


def test_bins_are_weighted_by_their_counts() -> None:
    def make_bin(count: int, confidence: float | None, accuracy: float | None) -> ReliabilityBin:
        return ReliabilityBin(low=0.5, high=1.0, count=count, confidence=confidence, accuracy=accuracy)

    (pooled,) = pool_bins([[make_bin(1, 0.6, 1.0)], [make_bin(0, None, None)], [make_bin(3, 1.0, 0.0)]])
    assert (pooled.count, pooled.accuracy) == (4, 0.25)
    assert pooled.confidence == pytest.approx(0.9)
    (empty,) = pool_bins([[make_bin(0, None, None)]])
    assert (empty.count, empty.confidence, empty.accuracy) == (0, None, None)
    assert pool_bins([[], []]) == []


def test_the_largest_errors_are_off_the_diagonal() -> None:
    names = ["cat", "dog", "eel"]
    shares = np.array([[0.9, 0.1, 0.0], [0.3, 0.5, 0.2], [np.nan] * 3])
    assert describe_largest_errors(shares, names) == "dog as cat 30.0 %, dog as eel 20.0 %, cat as dog 10.0 %"
    assert describe_largest_errors(shares, names, limit=1) == "dog as cat 30.0 %"
    change = np.array([[0.5, -0.4, 0.0], [0.0, 0.0, 0.1], [0.0, 0.0, 0.0]])
    assert describe_largest_errors(change, names, signed=True) == "cat as dog −40.0, dog as eel +10.0"
    assert describe_largest_errors(np.eye(3), names) == "none"
