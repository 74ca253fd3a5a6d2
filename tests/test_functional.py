"""The mathematics that methods share."""

import math

import pytest
import torch
from helpers import S, T, golden

from robustkd.functional import kl, masked_mean, sample_valid_columns


def looped(target, logits, temperature):
    """KL(target || logits), averaged over samples, one number at a time."""
    total = 0.0
    for t, s in zip(target.tolist(), logits.tolist(), strict=True):
        p, q = ([math.exp(z / temperature) for z in row] for row in (t, s))
        for k in range(len(p)):
            total += p[k] / sum(p) * (math.log(p[k] / sum(p)) - math.log(q[k] / sum(q)))
    return total / len(target)


@pytest.mark.parametrize(("temperature", "value"), [(1, 0.7890244234), (4, 0.0720550816)])
def test_the_golden_values(temperature, value):
    assert kl(T, S, temperature).item() == pytest.approx(value, abs=1e-10)  # divided by K it would be a fifth of it


def test_by_hand():
    # p = (3/4, 1/4), q = (1/2, 1/2): 3/4 log(3/2) + 1/4 log(1/2) = 0.3040988 - 0.1732868
    assert kl(torch.tensor([[math.log(3), 0.0]]), torch.zeros(1, 2)).item() == pytest.approx(0.1308120, abs=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1, 3])
def test_as_a_loop_has_it(temperature):
    assert kl(T, S, temperature).item() == pytest.approx(looped(T, S, temperature), rel=1e-12)


def test_it_is_of_the_target_against_the_logits():
    assert kl(S, T).item() == pytest.approx(looped(S, T, 1), rel=1e-12)
    assert abs(kl(S, T) - kl(T, S)) > 0.01


def test_agreement_is_zero_and_flat():
    logits = T.clone().requires_grad_()
    value = kl(T, logits)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-15)
    assert logits.grad.abs().max() < 1e-15


def test_a_shift_of_either_side_changes_nothing():
    shift = golden((4, 1), 2.3, 0.2, 50)
    for shifted in (kl(T + shift, S, 2), kl(T, S + shift, 2), kl(T + shift, S - shift, 2)):
        assert shifted.item() == pytest.approx(kl(T, S, 2).item(), rel=1e-12)


def test_a_batch_twice_over_has_the_same_mean():
    assert kl(torch.cat([T, T]), torch.cat([S, S])).item() == pytest.approx(kl(T, S).item(), rel=1e-12)


def test_logits_far_apart_stay_finite():
    far = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    value = kl(far.detach().flip(1), far)
    value.backward()
    assert value.item() == pytest.approx(1e4)  # the target's class has a logit 10000 below the best
    assert far.grad.isfinite().all()


def test_its_gradient():
    assert torch.autograd.gradcheck(lambda t, s: kl(t, s, 3), (T.clone().requires_grad_(), S.clone().requires_grad_()))


def test_partners_are_drawn_evenly_from_what_is_valid():
    valid = torch.tensor([[True, False, True], [False, False, False]]).repeat(2000, 1)
    column, found = sample_valid_columns(valid, torch.Generator().manual_seed(0))
    assert found.tolist() == [True, False] * 2000
    assert (column[::2].bincount(minlength=3) / 2000).tolist() == pytest.approx([0.5, 0, 0.5], abs=0.03)


def test_a_mean_over_nothing_is_zero_and_flat():
    values = torch.tensor([2.0, 4.0], requires_grad=True)
    mean = masked_mean(values, torch.tensor([False, False]))
    mean.backward()
    assert mean.item() == 0
    assert values.grad.abs().max() == 0
