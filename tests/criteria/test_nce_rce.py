"""nce_rce: alpha log p_y / sum_c log p_c - beta A (1 - p_y)."""

import math

import pytest
import torch

from robustkd.criteria.mae import MAE
from robustkd.criteria.nce_rce import NCEandRCE
from tests.helpers import FIVE, S, golden, make_batch


def test_by_hand():
    # log(4/3) / (log(4/3) + log 4) + 9.2103 / 4, and log 4 / (the same) + 9.2103 * 3/4
    losses = NCEandRCE(FIVE)(torch.tensor([[math.log(3), 0.0]] * 2), make_batch(torch.tensor([0, 1])))
    near = math.log(4 / 3) / math.log(16 / 3)
    assert losses.tolist() == pytest.approx([near + 9.2103404 / 4, 1 - near + 9.2103404 * 0.75], abs=1e-5)


def test_the_normalised_term_sums_to_1_over_all_labels():
    criterion = NCEandRCE(FIVE, beta=0)
    total = sum(criterion(S, make_batch(torch.full((4,), label))) for label in range(5))
    assert torch.allclose(total, torch.ones(4, dtype=torch.float64))


def test_the_reverse_term_is_the_mean_absolute_error_up_to_a_factor():
    losses = NCEandRCE(FIVE, alpha=0, beta=0.5)(S, make_batch())
    assert torch.allclose(losses, -0.5 * math.log(1e-4) * MAE(FIVE)(S, make_batch()))


def test_invariance_to_a_shift_of_logits():
    shift = golden((4, 1), 2.3, 0.2, 50)
    assert torch.allclose(NCEandRCE(FIVE)(S + shift, make_batch()), NCEandRCE(FIVE)(S, make_batch()))
