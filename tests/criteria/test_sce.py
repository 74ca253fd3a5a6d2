"""sce: -alpha log p_y - beta A (1 - p_y)."""

import math

import pytest
import torch
from torch.nn import functional as F

from robustkd.criteria.ce import CE
from robustkd.criteria.mae import MAE
from robustkd.criteria.sce import SCE
from tests.helpers import FIVE, LABELS, S, golden, make_batch


def test_by_hand():
    # 0.1 log(4/3) + 9.2103 / 4 and 0.1 log 4 + 9.2103 * 3/4
    losses = SCE(FIVE)(torch.tensor([[math.log(3), 0.0]] * 2), make_batch(torch.tensor([0, 1])))
    assert losses.tolist() == pytest.approx([2.3313533, 7.0463847], abs=1e-5)


def test_the_reverse_term_is_that_of_clamped_labels():
    one_hot = F.one_hot(LABELS, 5).double().clamp(min=1e-4)
    reverse = -(F.softmax(S, dim=1) * one_hot.log()).sum(dim=1)
    assert torch.allclose(SCE(FIVE, alpha=0)(S, make_batch()), reverse)


def test_limits():
    assert torch.allclose(SCE(FIVE, alpha=1, beta=0)(S, make_batch()), CE(FIVE)(S, make_batch()))
    assert torch.allclose(SCE(FIVE, alpha=0, beta=1, log_zero=-4)(S, make_batch()), 4 * MAE(FIVE)(S, make_batch()))


def test_invariance_to_a_shift_of_logits():
    shift = golden((4, 1), 2.3, 0.2, 50)
    assert torch.allclose(SCE(FIVE)(S + shift, make_batch()), SCE(FIVE)(S, make_batch()))
