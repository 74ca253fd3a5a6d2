"""phuber: cross entropy that is linear in p_y below 1 / tau."""

import math

import pytest
import torch

from robustkd.criteria.ce import CE
from robustkd.criteria.mae import MAE
from robustkd.criteria.phuber import PHuber
from tests.helpers import FIVE, S, golden, make_batch


def test_by_hand():
    # tau = 2: p = 3/4 is above 1/2, p = 1/4 below it: 1 + log 2 - 2/4
    losses = PHuber(FIVE)(torch.tensor([[math.log(3), 0.0]] * 2), make_batch(torch.tensor([0, 1])))
    assert losses.tolist() == pytest.approx([math.log(4 / 3), 0.5 + math.log(2)], abs=1e-6)


def test_limits():
    assert torch.allclose(PHuber(FIVE, tau=1)(S, make_batch()), MAE(FIVE)(S, make_batch()))
    assert torch.allclose(PHuber(FIVE, tau=1e9)(S, make_batch()), CE(FIVE)(S, make_batch()))


def test_value_and_slope_are_continuous_and_the_slope_is_bounded():
    p = torch.tensor([0.1 - 1e-6, 0.1 + 1e-6, 1e-4], dtype=torch.float64, requires_grad=True)
    losses = PHuber(FIVE, tau=10)(
        torch.stack([p.log(), (1 - p).log()], dim=1), make_batch(torch.zeros(3, dtype=torch.long))
    )
    (slope,) = torch.autograd.grad(losses.sum(), p)
    assert losses[0].item() == pytest.approx(losses[1].item(), abs=1e-4)
    assert slope.tolist() == pytest.approx([-10, -10, -10], abs=1e-3)


def test_invariance_to_a_shift_of_logits():
    shift = golden((4, 1), 2.3, 0.2, 50)
    assert torch.allclose(PHuber(FIVE)(S + shift, make_batch()), PHuber(FIVE)(S, make_batch()))
