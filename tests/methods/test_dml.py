"""dml: L_k = CE(z_k, y) + mean over l != k of T^2 KL(p_l || p_k), with p_l detached."""

import math

import pytest
import torch
from torch import Tensor

from robustkd.criteria.ce import CE
from robustkd.method import backward_and_step
from robustkd.methods.dml import DML
from tests.helpers import FIVE, LABELS, ConstantNetwork, S, T, build_study_method, golden, make_batch, make_network

THIRD = golden((4, 5), 0.5, 0.9)


def dml(*logits: Tensor, **options: object) -> DML:
    nets = [ConstantNetwork(z) for z in logits or (S, T)]
    return DML(lambda count: nets[:count], lambda: CE(FIVE), **{"networks": len(nets), **options})


def kl(p: list[float], q: list[float]) -> float:
    """KL(softmax(p) || softmax(q)) of one sample."""
    a, b = ([math.exp(z) for z in row] for row in (p, q))
    return sum(x / sum(a) * math.log((x / sum(a)) / (y / sum(b))) for x, y in zip(a, b, strict=True))


def reference_loss(own: Tensor, *peers: Tensor, temperature: float = 1.0) -> float:
    """The loss of a network with its peers, sample by sample."""
    total = 0.0
    for b, label in enumerate(LABELS.tolist()):
        z = own[b].tolist()
        total += math.log(sum(math.exp(v) for v in z)) - z[label]
        for peer in peers:
            total += temperature**2 * kl(*((row[b] / temperature).tolist() for row in (peer, own))) / len(peers)
    return total / len(LABELS)


@pytest.mark.parametrize("order", ["synchronous", "sequential"])
def test_golden_values(order):
    losses = [objective.loss.item() for objective in dml(order=order).step(make_batch())]
    assert losses == pytest.approx([3.1252757967, 3.0909600030], abs=1e-10)


def test_by_hand():
    # p_1 = (3/4, 1/4), p_2 = (1/2, 1/2), label 0
    # L_1 = -log 3/4 + 1/2 log(2/3) + 1/2 log 2 = 0.2876821 + 0.1438410;  L_2 = log 2 + 3/4 log(3/2) + 1/4 log(1/2)
    method = dml(torch.tensor([[math.log(3), 0.0]]), torch.zeros(1, 2))
    first, second = method.step(make_batch(torch.tensor([0])))
    assert first.loss.item() == pytest.approx(0.4315231, abs=1e-6)
    assert second.loss.item() == pytest.approx(0.6931472 + 0.1308120, abs=1e-6)


@pytest.mark.parametrize("temperature", [1, 3])
def test_three_networks_use_the_mean_over_peers(temperature):
    losses = [objective.loss.item() for objective in dml(S, T, THIRD, temperature=temperature).step(make_batch())]
    orders = ((S, T, THIRD), (T, S, THIRD), (THIRD, S, T))
    assert losses == pytest.approx([reference_loss(*logits, temperature=temperature) for logits in orders], rel=1e-10)


def test_equal_networks_have_zero_kl():
    for objective in dml(S, S + golden((4, 1), 2.3, 0.2, 50)).step(make_batch()):  # softmax is invariant to a shift
        mimicry = next(term for name, term in objective.terms.items() if name.startswith("kl"))
        assert mimicry.item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("order", ["synchronous", "sequential"])
def test_each_loss_reaches_only_its_own_student(order):
    method = dml(S, T, THIRD, order=order)
    for k, objective in enumerate(method.step(make_batch())):
        method.zero_grad(set_to_none=True)
        objective.loss.backward()
        assert [number for number, net in enumerate(method.students) if net.logits.grad is not None] == [k]


def test_synchronous_networks_run_once_before_all_updates():
    method, losses = dml(), []
    for objective in method.step(make_batch()):
        losses.append(objective.loss.item())
        with torch.no_grad():
            method.students[0].logits += 1 + torch.arange(5)
    assert losses == pytest.approx([3.1252757967, 3.0909600030], abs=1e-10)
    assert [net.calls for net in method.students] == [1, 1]


def test_sequential_networks_use_updated_peers():
    method = dml(order="sequential")
    optimiser = torch.optim.SGD(method.parameters(), lr=1.0)
    steps = method.step(make_batch())
    backward_and_step(next(steps), optimiser)
    updated = method.students[0].logits.detach().clone()
    second = next(steps).loss.item()
    assert not torch.equal(updated, S)
    assert second == pytest.approx(reference_loss(T, updated), rel=1e-10)
    assert abs(second - 3.0909600030) > 0.01


def test_sequential_peers_run_without_gradients():
    method = dml(S, T, THIRD, order="sequential")
    list(method.step(make_batch()))
    assert [net.calls_with_grad for net in method.students] == [1, 1, 1]


def test_sequential_runs_each_network_once_per_update():
    method = dml(S, T, THIRD, order="sequential")
    list(method.step(make_batch()))
    assert [net.calls for net in method.students] == [3, 3, 3]  # once with gradients, and once for each peer


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_gradient(temperature):
    method = dml(temperature=temperature)

    def loss(own: Tensor) -> Tensor:
        return method.network_objective(0, [own, T], make_batch()).loss

    assert torch.autograd.gradcheck(loss, (S.clone().requires_grad_(),))


def test_the_first_network_is_the_model():
    method = dml()
    assert method.model is method.students[0]


def test_an_update_of_one_student_leaves_the_others_unchanged():
    # Weight decay or momentum applied to parameters without a gradient would update both.
    method = DML(lambda count: [make_network(seed=n) for n in range(count)], lambda: CE(FIVE))
    optimiser = torch.optim.SGD(method.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    batch = make_batch(torch.tensor([0, 1, 2, 0]), torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    for _ in range(2):  # the second time with momentum
        for k, objective in enumerate(method.step(batch)):
            before = [[p.detach().clone() for p in net.parameters()] for net in method.students]
            backward_and_step(objective, optimiser)
            for number, net in enumerate(method.students):
                unchanged = all(torch.equal(p, was) for p, was in zip(net.parameters(), before[number], strict=True))
                assert unchanged == (number != k)


def test_only_the_first_student_shares_the_initial_weights_of_the_baseline():
    baseline, both, others = (build_study_method(*args) for args in (("baseline",), ("dml",), ("dml", 1)))
    nets = (baseline.model, *both.students, *others.students)
    first, *weights = (torch.cat([p.flatten() for p in net.parameters()]) for net in nets)
    assert torch.equal(first, weights[0])
    assert len({tuple(w.tolist()) for w in weights}) == 4


@pytest.mark.parametrize("order", ["synchronous", "sequential"])
@pytest.mark.parametrize(
    ("first", "second"),
    [(S[:1], T[:1]), (S[:1].repeat(4, 1), T), (S, S), (1e4 * S, -1e4 * T), (S[:, :1], T[:, :1])],
    ids=["one", "identical", "agreed", "sure", "one class"],
)
def test_degenerate_batches_are_finite(first: Tensor, second: Tensor, order: str):
    method = dml(first, second, order=order)
    for objective in method.step(make_batch(torch.zeros(len(first), dtype=torch.long))):
        objective.loss.backward()
        assert objective.loss.isfinite()
    assert all(net.logits.grad.isfinite().all() for net in method.students)
