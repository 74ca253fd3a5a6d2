"""What becomes of finalists after a look."""

import numpy as np
import pytest

from robustkd.evaluation.crossed import crossed_test
from robustkd.evaluation.power import Spread
from robustkd.selection.confirm import Evidence, judge_look, level_of, weigh
from robustkd.selection.sequential import nominal_levels


def make_evidence(difference: float, p: float) -> Evidence:
    return Evidence(difference, p, difference - 0.01, difference + 0.01, Spread(0.01))


@pytest.mark.parametrize(
    ("plain", "stopped", "is_last", "state"),
    [
        ((0.03, 0.001), (0.02, 0.009), False, "better"),
        ((0.03, 0.001), (0.02, 0.011), False, "open"),
        ((0.03, 0.001), (0.02, 0.011), True, "not shown"),
        ((0.03, 0.001), (-0.01, 0.5), False, "behind"),
        ((-0.03, 0.001), (-0.02, 0.001), True, "behind"),
        ((0.0, 1.0), (0.1, 0.001), True, "behind"),
    ],
)
def test_a_finalist_has_to_surpass_both_references(
    plain: tuple[float, float], stopped: tuple[float, float], is_last: bool, state: str
) -> None:
    evidence = {"plain": make_evidence(*plain), "stopped": make_evidence(*stopped)}
    assert judge_look("dml", 10, 0.01, evidence, is_last).state == state


def test_the_level_is_shared_among_finalists() -> None:
    looks = (5, 10, 15, 20)
    assert level_of(looks, 10, 3) == nominal_levels(looks, 0.05 / 3)[1]
    assert level_of(looks, 20, 3) < level_of(looks, 20, 1)


def test_the_evidence_is_that_of_the_crossed_test(rng: np.random.Generator) -> None:
    labels = np.arange(120) % 3
    differences = (rng.random((5, 120)) < 0.9).astype(float) - (rng.random((5, 120)) < 0.8)
    test, found = crossed_test(differences, labels), weigh(differences, labels, level=0.05)
    assert (found.difference, found.p) == pytest.approx((float(test.mean), float(test.p)))
    assert (found.low, found.high) == pytest.approx((float(test.low), float(test.high)))
    narrow, wide = weigh(differences, labels, level=0.2), weigh(differences, labels, level=0.001)
    assert narrow.high < found.high < wide.high
    assert found.spread.seeds > 0
