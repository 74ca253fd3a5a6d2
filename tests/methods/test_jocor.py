"""jocor: two networks, trained by one loss on the samples with the smallest values of it."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from robustkd.criteria.ce import CE
from robustkd.method_spec import MethodSpec
from robustkd.methods.jocor import JoCoR, joint_loss
from robustkd.types import Clock
from tests.helpers import FIVE, LABELS, ConstantNetwork, S, T, make_batch


def jocor(first: Tensor = S, second: Tensor = T, rate: float = 0.5, **options: float) -> JoCoR:
    nets = [ConstantNetwork(z) for z in (first, second)]
    method = JoCoR(lambda count: nets[:count], FIVE, lambda: CE(FIVE), rate=rate, warmup=0, ramp=0, **options)
    method.selection.begin_epoch(Clock(0, 10))
    return method


def test_by_hand() -> None:
    # p_1 = (3/4, 1/4), p_2 = (1/2, 1/2), label 0: CE 0.2876821 + 0.6931472;
    # KL(p_1 || p_2) = 3/4 log(3/2) + 1/4 log(1/2) = 0.1308120, KL(p_2 || p_1) = 1/2 log(2/3) + 1/2 log 2 = 0.1438410.
    method = jocor(torch.tensor([[math.log(3), 0.0]]), torch.zeros(1, 2), rate=0, agreement=2)
    loss = method.objective(make_batch(torch.tensor([0]))).loss.item()
    assert loss == pytest.approx(0.9808293 + 2 * 0.2746530, abs=1e-6)


def test_the_loss_is_the_mean_of_the_smallest_values() -> None:
    def divergence(p: list[float], q: list[float]) -> float:
        return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))

    values = []
    for s, t, label in zip(S.tolist(), T.tolist(), LABELS.tolist(), strict=True):
        p, q = ([math.exp(z) / sum(map(math.exp, row)) for z in row] for row in (s, t))
        values.append(-math.log(p[label]) - math.log(q[label]) + 3 * (divergence(p, q) + divergence(q, p)))
    expected = sum(sorted(values)[:2]) / 2
    assert jocor(agreement=3).objective(make_batch()).loss.item() == pytest.approx(expected, rel=1e-10)


def test_without_agreement_and_noise_it_is_plain_training_of_two_networks() -> None:
    expected = F.cross_entropy(S, LABELS) + F.cross_entropy(T, LABELS)
    loss = jocor(rate=0, agreement=0).objective(make_batch()).loss
    assert loss.item() == pytest.approx(expected.item(), rel=1e-10)


def test_the_networks_are_interchangeable() -> None:
    one, other = jocor(S, T).objective(make_batch()).loss, jocor(T, S).objective(make_batch()).loss
    assert one.item() == pytest.approx(other.item(), rel=1e-12)


def test_both_networks_receive_the_gradient_of_the_kept_samples() -> None:
    method = jocor()
    method.objective(make_batch()).loss.backward()
    kept = [net.logits.grad.any(dim=1) for net in (method.model, method.peer)]
    assert int(kept[0].sum()) == 2
    assert torch.equal(*kept)


def test_gradients() -> None:
    losses = torch.rand(4, dtype=torch.float64)
    inputs = [z.clone().requires_grad_() for z in (S, T)]
    assert torch.autograd.gradcheck(lambda s, t: joint_loss(losses, s, t, 1.5), inputs)


def test_a_given_rate_is_an_oracle() -> None:
    assert MethodSpec.parse("jocor(rate=0.4)").oracle
    assert not MethodSpec.parse("jocor(agreement=2)").oracle
