"""Loss functions and tensor operations shared by methods."""

import math

import pytest
import torch

from robustkd.functional import kl, masked_mean, sample_valid_columns
from tests.helpers import S, T, golden


def reference_kl(target, logits, temperature):
    """KL(target || logits), averaged over samples, computed with scalars."""
    total = 0.0
    for t, s in zip(target.tolist(), logits.tolist(), strict=True):
        p, q = ([math.exp(z / temperature) for z in row] for row in (t, s))
        for k in range(len(p)):
            total += p[k] / sum(p) * (math.log(p[k] / sum(p)) - math.log(q[k] / sum(q)))
    return total / len(target)


@pytest.mark.parametrize(("temperature", "value"), [(1, 0.7890244234), (4, 0.0720550816)])
def test_golden_values(temperature, value):
    assert kl(T, S, temperature).item() == pytest.approx(value, abs=1e-10)  # not divided by K


def test_by_hand():
    # p = (3/4, 1/4), q = (1/2, 1/2): 3/4 log(3/2) + 1/4 log(1/2) = 0.3040988 - 0.1732868
    assert kl(torch.tensor([[math.log(3), 0.0]]), torch.zeros(1, 2)).item() == pytest.approx(0.1308120, abs=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1, 3])
def test_matches_a_loop(temperature):
    assert kl(T, S, temperature).item() == pytest.approx(reference_kl(T, S, temperature), rel=1e-12)


def test_kl_is_from_target_to_logits():
    assert kl(S, T).item() == pytest.approx(reference_kl(S, T, 1), rel=1e-12)
    assert abs(kl(S, T) - kl(T, S)) > 0.01


def test_equal_logits_have_zero_loss_and_gradient():
    logits = T.clone().requires_grad_()
    value = kl(T, logits)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-15)
    assert logits.grad.abs().max() < 1e-15


def test_invariance_to_a_shift_of_either_argument():
    shift = golden((4, 1), 2.3, 0.2, 50)
    for shifted in (kl(T + shift, S, 2), kl(T, S + shift, 2), kl(T + shift, S - shift, 2)):
        assert shifted.item() == pytest.approx(kl(T, S, 2).item(), rel=1e-12)


def test_repeated_samples_have_the_same_mean():
    assert kl(torch.cat([T, T]), torch.cat([S, S])).item() == pytest.approx(kl(T, S).item(), rel=1e-12)


def test_large_logits_are_finite():
    far = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    value = kl(far.detach().flip(1), far)
    value.backward()
    assert value.item() == pytest.approx(1e4)  # the logit of the target's class is 10000 below the highest
    assert far.grad.isfinite().all()


def test_gradient():
    assert torch.autograd.gradcheck(lambda t, s: kl(t, s, 3), (T.clone().requires_grad_(), S.clone().requires_grad_()))


def test_valid_columns_are_sampled_uniformly():
    valid = torch.tensor([[True, False, True], [False, False, False]]).repeat(2000, 1)
    column, has_valid = sample_valid_columns(valid, torch.Generator().manual_seed(0))
    assert has_valid.tolist() == [True, False] * 2000
    assert (column[::2].bincount(minlength=3) / 2000).tolist() == pytest.approx([0.5, 0, 0.5], abs=0.03)


def test_an_empty_masked_mean_has_zero_value_and_gradient():
    values = torch.tensor([2.0, 4.0], requires_grad=True)
    mean = masked_mean(values, torch.tensor([False, False]))
    mean.backward()
    assert mean.item() == 0
    assert values.grad.abs().max() == 0
