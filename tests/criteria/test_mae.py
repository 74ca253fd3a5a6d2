"""mae: 1 - p_y."""

import math

import pytest
import torch
from torch.nn import functional as F

from robustkd.criteria.mae import MAE
from tests.helpers import FIVE, LABELS, S, golden, make_batch


def test_by_hand():
    losses = MAE(FIVE)(torch.tensor([[math.log(3), 0.0]] * 2), make_batch(torch.tensor([0, 1])))
    assert losses.tolist() == pytest.approx([0.25, 0.75])


def test_half_the_distance_between_label_and_distribution():
    distance = (F.one_hot(LABELS, 5) - F.softmax(S, dim=1)).abs().sum(dim=1)
    assert torch.allclose(MAE(FIVE)(S, make_batch()), distance / 2)


def test_the_sum_over_all_labels_is_constant():
    # The symmetry on which robustness against uniform noise rests.
    total = sum(MAE(FIVE)(S, make_batch(torch.full((4,), label))) for label in range(5))
    assert torch.allclose(total, torch.full((4,), 4.0, dtype=torch.float64))


def test_invariance_to_a_shift_of_logits():
    shift = golden((4, 1), 2.3, 0.2, 50)
    assert torch.allclose(MAE(FIVE)(S + shift, make_batch()), MAE(FIVE)(S, make_batch()))
