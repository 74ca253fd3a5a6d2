"""co_teaching: each network is trained on the samples with the smallest losses under the other."""

import math

import pytest
import torch
from torch import Tensor

from robustkd.criteria.ce import CE
from robustkd.method_spec import MethodSpec
from robustkd.methods import METHODS
from robustkd.methods.co_teaching import CoTeaching
from robustkd.types import Clock
from tests.helpers import FIVE, LABELS, ConstantNetwork, S, T, build_method, large_view, make_batch


def co_teaching(first: Tensor = S, second: Tensor = T, epoch: int = 0, **options: float) -> CoTeaching:
    nets = [ConstantNetwork(z) for z in (first, second)]
    method = CoTeaching(lambda count: nets[:count], FIVE, lambda: CE(FIVE), **{"warmup": 0, "ramp": 0, **options})
    method.selection.begin_epoch(Clock(epoch, 10))
    return method


def test_by_hand() -> None:
    # Probabilities of label 0: network 1 has 3/4, 1/2, 1/4 and network 2 has 1/4, 1/2, 3/4. Two thirds are kept.
    # Network 1 learns samples 3 and 2 of network 2: (log 4 + log 2) / 2 = 1.0397208, and network 2 samples 1 and 2: the same.
    odds = torch.tensor([[math.log(3), 0.0], [0.0, 0.0], [-math.log(3), 0.0]])
    method = co_teaching(odds, odds.flip(0), rate=1 / 3)
    one, two = method.step(make_batch(torch.tensor([0, 0, 0])))
    assert [one.loss.item(), two.loss.item()] == pytest.approx([1.0397208, 1.0397208], abs=1e-6)


def test_the_selection_is_the_peers() -> None:
    own, peer = (
        [math.log(sum(map(math.exp, z))) - z[y] for z, y in zip(net.tolist(), LABELS.tolist(), strict=True)]
        for net in (S, T)
    )

    def loss(values: list[float], ranking: list[float]) -> float:
        kept = sorted(range(4), key=lambda row: ranking[row])[:2]
        return sum(values[row] for row in kept) / 2

    losses = [objective.loss.item() for objective in co_teaching(rate=0.5).step(make_batch())]
    assert losses == pytest.approx([loss(own, peer), loss(peer, own)], rel=1e-10)


def test_without_noise_it_is_plain_training_of_two_networks() -> None:
    for objective, z in zip(co_teaching(rate=0).step(make_batch()), (S, T), strict=True):
        assert objective.loss.item() == pytest.approx(torch.nn.functional.cross_entropy(z, LABELS).item(), rel=1e-10)


def test_a_mean_over_the_kept_samples_is_not_divided_again() -> None:
    z = torch.zeros(4, 5, dtype=torch.float64)
    for rate in (0.0, 0.5, 0.75):
        for objective in co_teaching(z, z, rate=rate).step(make_batch()):
            assert objective.loss.item() == pytest.approx(math.log(5))


def test_each_loss_reaches_only_its_network_and_the_kept_samples() -> None:
    method = co_teaching(rate=0.5)
    for k, objective in enumerate(method.step(make_batch())):
        method.zero_grad(set_to_none=True)
        objective.loss.backward()
        gradients = [net.logits.grad for net in method.students]
        assert gradients[1 - k] is None
        assert int(gradients[k].any(dim=1).sum()) == 2


def test_the_order_of_the_batch_has_no_effect() -> None:
    order = torch.tensor([2, 0, 3, 1])
    one = [objective.loss.item() for objective in co_teaching(rate=0.5).step(make_batch())]
    other = [o.loss.item() for o in co_teaching(S[order], T[order], rate=0.5).step(make_batch(LABELS[order]))]
    assert one == pytest.approx(other, rel=1e-12)


def test_gradients() -> None:
    def first_loss(z: Tensor) -> Tensor:
        method = co_teaching(rate=0.5)
        losses = method.criteria[0](z, make_batch())
        return losses[method.selection.select(method.criteria[1](T, make_batch()))].mean()

    assert torch.autograd.gradcheck(first_loss, S.clone().requires_grad_())
    (expected,) = torch.autograd.grad(first_loss(logits := S.clone().requires_grad_()), logits)
    method = co_teaching(rate=0.5)
    next(iter(method.step(make_batch()))).loss.backward()
    assert torch.allclose(method.students[0].logits.grad, expected)


def test_wrong_labels_are_left_out_with_the_estimated_rate() -> None:
    labels = large_view().labels.copy()
    wrong = torch.zeros(len(labels), dtype=torch.bool)
    wrong[::5] = True
    labels[::5] = (labels[::5] + 1) % 3
    view = large_view().relabel(labels)
    built = build_method(METHODS.parse("co_teaching"), view=view)
    for _ in built.train(view, epochs=20, size=12):
        pass
    assert float(built.method.selection.estimate) == pytest.approx(0.2, abs=0.1)
    losses = built.method.selection.losses
    assert losses[wrong].mean() > 3 * losses[~wrong].mean()


def test_a_given_rate_is_an_oracle() -> None:
    assert MethodSpec.parse("co_teaching(rate=0.4)").oracle
    assert not MethodSpec.parse("co_teaching").oracle
    assert not MethodSpec.parse("co_teaching(ramp=0.2)+balanced").oracle
