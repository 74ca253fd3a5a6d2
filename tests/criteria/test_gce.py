"""gce: (1 - p_y^q) / q, between cross entropy and the mean absolute error, and its truncation."""

import math
from dataclasses import replace

import pytest
import torch

from robustkd.criteria.ce import CE
from robustkd.criteria.gce import GCE
from robustkd.criteria.mae import MAE
from robustkd.types import Clock
from tests.helpers import FIVE, LABELS, S, golden, make_batch


def test_by_hand():
    # q = 1/2: (1 - sqrt(p)) / (1/2) with p = 1/4 is 1, and with p = 3/4 it is 2 - sqrt(3).
    losses = GCE(FIVE, q=0.5)(torch.tensor([[math.log(3), 0.0]] * 2), make_batch(torch.tensor([0, 1])))
    assert losses.tolist() == pytest.approx([2 - math.sqrt(3), 1.0], abs=1e-6)


def test_matches_a_loop():
    for z, label, loss in zip(S.tolist(), LABELS.tolist(), GCE(FIVE)(S, make_batch()).tolist(), strict=True):
        p = math.exp(z[label]) / sum(map(math.exp, z))
        assert loss == pytest.approx((1 - p**0.7) / 0.7, rel=1e-12)


def test_limits():
    assert torch.equal(GCE(FIVE, q=0)(S, make_batch()), CE(FIVE)(S, make_batch()))
    assert torch.allclose(GCE(FIVE, q=1e-9)(S, make_batch()), CE(FIVE)(S, make_batch()), rtol=1e-7)
    assert torch.equal(GCE(FIVE, q=1)(S, make_batch()), MAE(FIVE)(S, make_batch()))


def test_samples_whose_label_is_not_believed_are_ignored_late():
    z = torch.tensor([[math.log(3), 0.0]] * 2, requires_grad=True)  # p_y = 3/4 and 1/4
    batch, criterion = make_batch(torch.tensor([0, 1])), GCE(FIVE, truncate=0.5)
    early, late = (criterion(z, replace(batch, clock=Clock(epoch, 12))) for epoch in (3, 4))
    assert torch.equal(early, GCE(FIVE)(z, batch))
    assert late.tolist() == pytest.approx([early[0].item(), (1 - 0.5**0.7) / 0.7])
    late.sum().backward()
    assert z.grad is not None
    assert (z.grad.abs().sum(dim=1) > 0).tolist() == [True, False]


def test_truncation_with_the_limit_of_cross_entropy():
    late = replace(make_batch(), clock=Clock(9, 10))
    expected = CE(FIVE)(S, make_batch()).clamp(max=math.log(5))
    assert torch.allclose(GCE(FIVE, q=0, truncate=0.2)(S, late), expected)


def test_invariance_to_a_shift_of_logits():
    shift = golden((4, 1), 2.3, 0.2, 50)
    assert torch.allclose(GCE(FIVE)(S + shift, make_batch()), GCE(FIVE)(S, make_batch()))
