"""Who continues after a rung, and why."""

import numpy as np
import pytest

from robustkd.selection.race import Standing, judge_rung, window


def rows(share: float, n: int = 200, seed: int = 0) -> np.ndarray:
    """Return the correctness of a network that is right on a share of the rows: more rows of the same for a larger share."""
    return (np.random.default_rng(seed).permutation(n) < share * n).astype(float)


def test_what_is_far_behind_is_dropped_and_what_is_within_the_noise_is_kept() -> None:
    decided = judge_rung({"far": [rows(0.3)] * 2, "best": [rows(0.8)] * 2, "near": [rows(0.79, seed=1)] * 2}, places=3)
    assert [(each.contender, each.kept, each.reason) for each in decided] == [
        ("best", True, ""),
        ("near", True, ""),
        ("far", False, "noise"),
    ]


def test_places_are_for_the_best() -> None:
    decided = judge_rung({name: [rows(0.8, seed=seed)] for seed, name in enumerate("abcd")}, places=2)
    assert [each.kept for each in decided] == [True, True, False, False]
    assert {each.reason for each in decided if not each.kept} == {"places"}


def test_an_exact_loss_without_noise_is_more_than_the_noise() -> None:
    decided = judge_rung({"worse": [np.zeros(10)] * 2, "better": [np.ones(10)] * 2}, places=2)
    assert [(each.contender, each.reason) for each in decided] == [("better", ""), ("worse", "noise")]


@pytest.mark.parametrize(("seeds", "is_partial"), [(1, False), (2, True), (1, True)])
def test_of_one_seed_and_before_the_end_of_the_schedule_only_places_decide(seeds: int, is_partial: bool) -> None:
    correct = {"worse": [np.zeros(10)] * seeds, "better": [np.ones(10)] * seeds}
    decided = judge_rung(correct, places=2, is_partial=is_partial)
    assert all(each.kept for each in decided)


def test_equal_contenders_keep_their_order() -> None:
    assert [each.contender for each in judge_rung({"b": [np.ones(5)], "a": [np.ones(5)]}, places=2)] == ["b", "a"]


def test_of_equal_contenders_the_one_that_was_better_all_along_comes_first() -> None:
    third = np.array([1.0, 1.0, 0.0])
    correct = {"late": [third, third], "soon": [third[::-1], third], "worse": [third, third * 0.9]}
    decided = judge_rung(correct, places=1, is_partial=True, tie_breaks={"late": 0.3, "soon": 0.5, "worse": 0.9})
    assert [each.contender for each in decided] == ["soon", "late", "worse"]
    assert [each.kept for each in decided] == [True, False, False]
    assert "equals the leader, but no place is left for it" in decided[1].describe()


def test_who_cannot_be_judged_continues_without_a_place() -> None:
    decided = judge_rung({"best": [rows(0.8)], "near": [rows(0.8, seed=1)]}, places=1, unjudged=["early"])
    assert {each.contender: each.kept for each in decided} == {"best": True, "near": False, "early": True}
    assert decided[-1].score is None
    assert judge_rung({}, 1, ["early"])[0].kept


@pytest.mark.parametrize(
    ("standing", "text"),
    [
        (Standing("a", 0.5, 0.0, 0.0, True), "a: leads"),
        (Standing("a", 0.5, 0.01, 0.02, True), "a: 1.0 points behind the leader; continues"),
        (Standing("a", 0.5, 0.01, 0.02, False, "places"), "within the noise of 4.0; no place is left for it"),
        (Standing("a", None, 0.0, 0.0, False, "failed"), "a: its training failed"),
    ],
)
def test_decisions_are_described(standing: Standing, text: str) -> None:
    assert text in standing.describe()


def test_a_tenth_of_the_epochs_is_averaged() -> None:
    assert [window(epochs) for epochs in (1, 10, 100)] == [1, 1, 10]
