"""focal: -(1 - p_y)^gamma log p_y."""

import math

import pytest
import torch

from robustkd.criteria.ce import CE
from robustkd.criteria.focal import Focal
from tests.helpers import FIVE, LABELS, S, golden, make_batch


def test_by_hand():
    losses = Focal(FIVE)(torch.tensor([[math.log(3), 0.0]] * 2), make_batch(torch.tensor([0, 1])))
    assert losses.tolist() == pytest.approx([math.log(4 / 3) / 16, math.log(4) * 9 / 16], abs=1e-6)


def test_matches_a_loop():
    for z, label, loss in zip(
        S.tolist(), LABELS.tolist(), Focal(FIVE, gamma=0.5)(S, make_batch()).tolist(), strict=True
    ):
        p = math.exp(z[label]) / sum(map(math.exp, z))
        assert loss == pytest.approx(-math.sqrt(1 - p) * math.log(p), rel=1e-12)


def test_at_gamma_0_it_is_the_cross_entropy():
    assert torch.allclose(Focal(FIVE, gamma=0)(S, make_batch()), CE(FIVE)(S, make_batch()))


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 5.0])
def test_certain_predictions_have_finite_gradients(gamma):
    z = torch.tensor([[40.0, -40.0, 0.0], [40.0, -40.0, 0.0]], requires_grad=True)
    losses = Focal(FIVE, gamma=gamma)(z, make_batch(torch.tensor([0, 1])))
    losses.sum().backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()
    assert losses.tolist() == pytest.approx([0, 80], abs=1e-4)


def test_invariance_to_a_shift_of_logits():
    shift = golden((4, 1), 2.3, 0.2, 50)
    assert torch.allclose(Focal(FIVE)(S + shift, make_batch()), Focal(FIVE)(S, make_batch()))
