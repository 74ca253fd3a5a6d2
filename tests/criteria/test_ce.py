"""ce: -log softmax(z)_y."""

import math

import pytest
import torch

from robustkd.criteria.ce import CE
from tests.helpers import FIVE, LABELS, S, golden, make_batch


def test_golden_value():
    losses = CE(FIVE)(S, make_batch())
    assert losses.mean().item() == pytest.approx(2.3362513733, abs=1e-10)
    for z, label, loss in zip(S.tolist(), LABELS.tolist(), losses.tolist(), strict=True):
        assert loss == pytest.approx(math.log(sum(map(math.exp, z))) - z[label], rel=1e-12)


def test_by_hand():
    # p = (3/4, 1/4): labels 0 and 1 cost log(4/3) and log 4
    losses = CE(FIVE)(torch.tensor([[math.log(3), 0.0]] * 2), make_batch(torch.tensor([0, 1])))
    assert losses.tolist() == pytest.approx([0.2876821, 1.3862944], abs=1e-6)


def test_a_confident_prediction_has_zero_loss_and_invariance_to_a_shift():
    sure = 100 * torch.nn.functional.one_hot(LABELS, 5).double()
    assert CE(FIVE)(sure, make_batch()).abs().max() < 1e-12
    shift = golden((4, 1), 2.3, 0.2, 50)
    assert torch.allclose(CE(FIVE)(S + shift, make_batch()), CE(FIVE)(S, make_batch()))


def test_gradient():
    assert torch.autograd.gradcheck(lambda z: CE(FIVE)(z, make_batch()), (S.clone().requires_grad_(),))
