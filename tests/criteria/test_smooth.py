"""smooth: -(1 - s) log p_y - s mean_c log p_c."""

import math

import pytest
import torch

from robustkd.criteria.ce import CE
from robustkd.criteria.smooth import LabelSmoothing
from robustkd.methods.smooth import uniform_ce
from tests.helpers import FIVE, LABELS, S, build_study_method, golden, make_batch, small_view


def test_by_hand():
    # p = (3/4, 1/4), s = 0.2: the target of label 0 is (0.9, 0.1).
    z = torch.tensor([[math.log(3), 0.0]] * 2)
    losses = LabelSmoothing(FIVE, smoothing=0.2)(z, make_batch(torch.tensor([0, 1])))
    near, far = math.log(4 / 3), math.log(4)
    assert losses.tolist() == pytest.approx([0.9 * near + 0.1 * far, 0.1 * near + 0.9 * far], abs=1e-6)


def test_no_smoothing_is_the_cross_entropy_and_full_smoothing_ignores_the_label():
    assert torch.equal(LabelSmoothing(FIVE, smoothing=0)(S, make_batch()), CE(FIVE)(S, make_batch()))
    full = LabelSmoothing(FIVE, smoothing=1)
    assert torch.allclose(full(S, make_batch()), full(S, make_batch(LABELS.flip(0))))
    assert torch.allclose(full(S, make_batch()), uniform_ce(S))


def test_the_method_of_the_same_name_has_the_same_loss():
    batch = make_batch(torch.tensor([0, 1, 2]), torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    criterion, method = (build_study_method(text, view=small_view()) for text in ("baseline+smooth", "smooth"))
    assert torch.allclose(criterion.objective(batch).loss, method.objective(batch).loss)


def test_invariance_to_a_shift_of_logits():
    shift = golden((4, 1), 2.3, 0.2, 50)
    criterion = LabelSmoothing(FIVE)
    assert torch.allclose(criterion(S + shift, make_batch()), criterion(S, make_batch()))
