"""class_balanced: cross entropy weighted by the effective number of samples."""

import math
from dataclasses import replace

import pytest
import torch

from robustkd.criteria.ce import CE
from robustkd.criteria.class_balanced import ClassBalanced
from robustkd.types import Clock
from tests.helpers import FIVE, LABELS, S, golden, make_batch

UNEVEN = replace(FIVE, samples=100, counts=(60, 25, 10, 0, 5))


def test_by_hand():
    # beta 1, counts 30 and 10: weights 2/3 and 2, and labels 0 and 1 cost log(4/3) and log 4.
    criterion = ClassBalanced(replace(FIVE, samples=40, counts=(30, 10)), beta=1)
    losses = criterion(torch.tensor([[math.log(3), 0.0]] * 2), make_batch(torch.tensor([0, 1])))
    assert losses.tolist() == pytest.approx([2 / 3 * math.log(4 / 3), 2 * math.log(4)], abs=1e-6)


def test_at_beta_0_it_is_the_cross_entropy():
    assert torch.allclose(ClassBalanced(UNEVEN, beta=0)(S, make_batch()), CE(UNEVEN)(S, make_batch()))


@pytest.mark.parametrize("beta", [0.5, 0.9999, 1.0])
def test_equal_counts_give_the_cross_entropy(beta):
    data = replace(FIVE, samples=35, counts=(7,) * 5)
    assert torch.allclose(ClassBalanced(data, beta=beta)(S, make_batch()), CE(data)(S, make_batch()), rtol=1e-6)


def test_rare_classes_weigh_more():
    weights = ClassBalanced(UNEVEN).class_weights.tolist()
    assert weights[0] < weights[1] < weights[2] < weights[4]
    assert weights[4] / weights[0] == pytest.approx(12, rel=0.01)


def test_deferred_weights_are_its_own():
    criterion = ClassBalanced(UNEVEN, beta=0.9, drw=True)
    early, late = (criterion(S, replace(make_batch(), clock=Clock(epoch, 10))) for epoch in (7, 8))
    assert torch.equal(early, CE(UNEVEN)(S, make_batch()))
    assert torch.equal(late, ClassBalanced(UNEVEN, beta=0.9)(S, make_batch()))
    assert not torch.equal(late, early)


def test_a_class_without_samples_changes_nothing():
    kept = [0, 1, 2, 4]
    fewer = ClassBalanced(replace(FIVE, samples=100, counts=(60, 25, 10, 5)))
    assert torch.equal(fewer.class_weights, ClassBalanced(UNEVEN).class_weights[kept])
    assert 3 not in LABELS.tolist()


def test_invariance_to_a_shift_of_logits():
    shift = golden((4, 1), 2.3, 0.2, 50)
    criterion = ClassBalanced(UNEVEN)
    assert torch.allclose(criterion(S + shift, make_batch()), criterion(S, make_batch()))
