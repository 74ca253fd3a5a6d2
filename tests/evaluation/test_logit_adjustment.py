"""Logit adjustment after training: z - tau log pi."""

import numpy as np
import pytest
import torch

from robustkd.criteria.balanced import Balanced
from robustkd.evaluation.logit_adjustment import adjust_logits
from tests.helpers import FIVE, golden, make_batch

COUNTS = np.array([60, 25, 10, 0, 5])
Z = golden((4, 5), 0.7, 0.3, 2).float().numpy()


def test_by_hand() -> None:
    # Odds of 3 to 1 for the first class, which has three times as many labels: even odds without the prior.
    adjusted = adjust_logits(np.log(np.array([[3.0, 1.0]], np.float32)), np.array([75, 25]))
    assert adjusted[0, 0] == pytest.approx(adjusted[0, 1])
    assert adjusted.dtype == np.float32


def test_equal_counts_change_no_prediction_and_no_probability() -> None:
    adjusted = adjust_logits(Z, np.full(5, 7))
    shift = adjusted - Z
    assert np.allclose(shift, shift[0, 0])


def test_tau_scales_the_correction_and_0_changes_nothing() -> None:
    assert np.array_equal(adjust_logits(Z, COUNTS, tau=0), Z)
    half, whole = (adjust_logits(Z, COUNTS, tau=tau) - Z for tau in (0.5, 1.0))
    assert np.allclose(2 * half, whole, atol=1e-6)


def test_it_undoes_the_balanced_softmax() -> None:
    # The criterion adds log n to the logits; removing the prior from that sum returns the logits, up to a constant.
    criterion, counts = Balanced(FIVE), np.array(FIVE.counts)
    shifted = Z + criterion.log_counts.clamp(min=0).numpy()
    assert np.ptp(adjust_logits(shifted, counts) - Z, axis=1).max() == pytest.approx(0, abs=1e-5)
    assert torch.isfinite(criterion(torch.from_numpy(Z), make_batch())).all()


def test_a_class_without_labels_stays_finite() -> None:
    adjusted = adjust_logits(Z, COUNTS)
    assert np.isfinite(adjusted).all()
    assert (adjusted - Z)[0].argmax() == 3
