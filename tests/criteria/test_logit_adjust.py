"""logit_adjust: -log softmax(z + tau log pi)_y."""

import math
from dataclasses import replace

import pytest
import torch

from robustkd.criteria.balanced import Balanced
from robustkd.criteria.ce import CE
from robustkd.criteria.logit_adjust import LogitAdjust
from tests.helpers import FIVE, S, golden, make_batch

UNEVEN = replace(FIVE, samples=100, counts=(60, 25, 10, 0, 5))


def test_by_hand():
    # tau 2, counts 3 and 1, equal logits: the odds are 9 to 1.
    criterion = LogitAdjust(replace(FIVE, samples=4, counts=(3, 1)), tau=2)
    losses = criterion(torch.zeros(2, 2), make_batch(torch.tensor([0, 1])))
    assert losses.tolist() == pytest.approx([math.log(10 / 9), math.log(10)], abs=1e-6)


def test_limits():
    assert torch.allclose(LogitAdjust(UNEVEN)(S, make_batch()), Balanced(UNEVEN)(S, make_batch()), rtol=1e-5)
    assert torch.equal(LogitAdjust(UNEVEN, tau=0)(S, make_batch()), CE(UNEVEN)(S, make_batch()))


def test_equal_counts_give_the_cross_entropy():
    data = replace(FIVE, samples=35, counts=(7,) * 5)
    assert torch.allclose(LogitAdjust(data, tau=3)(S, make_batch()), CE(data)(S, make_batch()), rtol=1e-5)


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0])
def test_a_class_without_samples_is_never_predicted_unless_nothing_is_adjusted(tau):
    z = S.clone().requires_grad_()
    LogitAdjust(UNEVEN, tau=tau)(z, make_batch()).sum().backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()
    assert bool((z.grad[:, 3] == 0).all()) is (tau > 0)


def test_invariance_to_a_shift_of_logits():
    shift = golden((4, 1), 2.3, 0.2, 50)
    criterion = LogitAdjust(UNEVEN)
    assert torch.allclose(criterion(S + shift, make_batch()), criterion(S, make_batch()))
