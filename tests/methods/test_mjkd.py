"""mjkd: v_k <- m_k v_k + g_k for each of three losses, theta <- theta - lr sum_k v_k."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from robustkd.criteria.ce import CE
from robustkd.method import backward_and_step
from robustkd.methods import METHODS
from robustkd.methods.mjkd import MJKD, spread_momenta, step_with_momenta
from robustkd.models.net import Frozen
from robustkd.types import Clock, Objective
from tests.helpers import (
    FIVE,
    ConstantNetwork,
    S,
    T,
    build_method,
    golden,
    make_batch,
    make_loader,
    reload_state,
    small_view,
)


def scalar(value: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(value, dtype=torch.float64))


def mjkd(student: Tensor = S, teacher: Tensor = T, **options: float) -> MJKD:
    return MJKD(ConstantNetwork(student), Frozen(ConstantNetwork(teacher)), FIVE, lambda: CE(FIVE), **options).double()


@pytest.mark.parametrize(("nesterov", "first", "second"), [(False, 9.3, 7.9695), (True, 8.6625, 6.766096875)])
def test_two_steps_by_hand(nesterov, first, second):
    # Gradients 1, 2, 3; momenta 0.825, 0.9, 0.975; weight decay 0.1 of theta = 10 is added to the first.
    # Plain: v = 2, 2, 3, theta = 10 - 0.7; then v = 0.825 * 2 + 1.93, 3.8, 5.925, theta = 9.3 - 1.3305.
    # Nesterov: g + m v = 3.65, 3.8, 5.925, theta = 10 - 1.3375; then 4.76715625, 5.42, 8.776875.
    theta = scalar(10)
    optimiser = SGD([theta], lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=nesterov)
    for expected in (first, second):
        step_with_momenta(Objective({"ce": theta, "feature": 2 * theta, "logit": 3 * theta}), optimiser, 0.075)
        assert theta.item() == pytest.approx(expected, rel=1e-12)


def test_parameters_reached_by_some_of_the_losses_match_a_loop():
    # Loss k pulls parameter i towards targets[k][i]; None: it does not depend on it. No loss depends on the last.
    targets = {
        "ce": [1.0, -2.0, None, None, 1.0, None],
        "feature": [3.0, None, 2.0, None, None, None],
        "logit": [-1.0, 0.5, None, 4.0, None, None],
    }
    start, rates, mu, decay = [5.0, 4.0, -3.0, 2.0, 6.0, 7.0], [0.1, 0.1, 0.02, 0.3], 0.9, 0.05
    parameters = [scalar(value) for value in start]
    optimiser = SGD(parameters, lr=1.0, momentum=mu, weight_decay=decay)
    theta, v = list(start), {name: [0.0] * 6 for name in targets}
    for lr in rates:
        optimiser.param_groups[0]["lr"] = lr
        terms = {}
        for name, target in targets.items():
            terms[name] = sum((p - a).square() / 2 for p, a in zip(parameters, target, strict=True) if a is not None)
        step_with_momenta(Objective(terms), optimiser, 0.075)
        for i in range(6):
            reaching = [name for name in targets if targets[name][i] is not None]
            previous, total = theta[i], 0.0
            for name in reaching:
                m = {"ce": mu - 0.075, "feature": mu, "logit": mu + 0.075}[name] if len(reaching) > 1 else mu
                g = previous - targets[name][i] + (decay * previous if name == reaching[0] else 0.0)
                v[name][i] = m * v[name][i] + g
                total += v[name][i]
            theta[i] -= lr * total
        assert [p.item() for p in parameters] == pytest.approx(theta, rel=1e-12)
    assert parameters[5].item() == 7
    assert parameters[5].grad is None


@pytest.mark.parametrize("nesterov", [False, True])
def test_with_zero_spread_it_is_sgd_on_the_sum(nesterov):
    results = []
    for update in (None, backward_and_step):
        method = build_method(METHODS.parse("mjkd(spread=0)")).method.double().train()
        method.teacher.net.double()
        optimiser = SGD(method.parameters(), lr=0.05, momentum=0.9, weight_decay=0.01, nesterov=nesterov)
        for number in range(3):
            for batch in make_loader(small_view()).iter_epoch(number, Clock(number, 3)):
                (update or method.update)(method.objective(replace(batch, images=batch.images.double())), optimiser)
        results.append(torch.cat([p.detach().flatten() for p in method.parameters()]))
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-11)


def test_with_a_spread_it_differs_from_sgd():
    moved = []
    for spread in (0.0, 0.075):
        method = mjkd(spread=spread)
        optimiser = SGD(method.parameters(), lr=0.1, momentum=0.9)
        with torch.no_grad():
            method.adapter.weight.fill_(0.1)
        for _ in range(2):
            method.update(method.objective(make_batch()), optimiser)
        moved.append(method.student.logits.detach())
    assert (moved[0] - moved[1]).abs().max() > 1e-4


@pytest.mark.parametrize("momentum", [0.0, 0.05, 0.5, 0.9, 0.95, 0.999])
@pytest.mark.parametrize("spread", [0.0, 0.075, 1.0])
def test_momenta_stay_in_range(momentum, spread):
    ce, feature, logit = spread_momenta(momentum, spread).values()
    assert 0 <= ce <= feature <= logit < 1
    assert feature == momentum
    assert logit - feature == pytest.approx(feature - ce, abs=1e-12)
    if momentum == 0.9 and spread == 0.075:
        assert (ce, logit) == pytest.approx((0.825, 0.975))


def test_with_zero_momentum_it_is_gradient_descent():
    one, other = scalar(3), scalar(3)
    for p, update in ((one, lambda o, s: step_with_momenta(o, s, 0.075)), (other, backward_and_step)):
        optimiser = SGD([p], lr=0.1)
        for _ in range(3):
            update(Objective({"ce": p.square(), "feature": p.sin(), "logit": p.exp()}), optimiser)
    assert one.item() == pytest.approx(other.item(), rel=1e-12)


def test_momentum_buffers_are_saved_in_the_optimiser_state():
    built = build_method(METHODS.parse("mjkd"))
    method, again = built.method.train(), build_method(METHODS.parse("mjkd"), seed=1).method.train()
    batch = list(make_loader(small_view()).iter_epoch(0, Clock(0, 1)))

    def optimiser(of: nn.Module) -> SGD:
        return SGD(of.parameters(), lr=0.03, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True)

    first, second = optimiser(method), optimiser(again)
    method.update(method.objective(batch[0]), first)
    assert set(first.state[method.student.head.weight]) == {"momentum/ce", "momentum/logit"}
    assert set(first.state[method.adapter.weight]) == {"momentum/feature"}
    assert set(first.state[next(method.student.parameters())]) == {"momentum/ce", "momentum/feature", "momentum/logit"}
    again.load_state_dict(reload_state(method.state_dict()))
    second.load_state_dict(reload_state(first.state_dict()))
    for net, own in ((method, first), (again, second)):
        net.update(net.objective(batch[1]), own)
    assert all(torch.equal(p, q) for p, q in zip(method.parameters(), again.parameters(), strict=True))


def test_gradients_are_set_as_by_backward():
    method = build_method(METHODS.parse("mjkd")).method.train()
    (batch,) = make_loader(small_view(), 12).iter_epoch(0, Clock(0, 1))
    objective = method.objective(batch)
    expected = torch.autograd.grad(objective.loss, list(method.parameters()), retain_graph=True)
    method.update(objective, SGD(method.parameters(), lr=0.1))
    for p, g in zip(method.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, g, rtol=1e-4, atol=1e-6)


def test_feature_loss_by_hand():
    # W = (1 0; 0 2), b = (0, 1): W (3, 1) + b = (3, 3) against (1, 4): (4 + 1) / 2, times 0.5
    method = mjkd(torch.tensor([[3.0, 1]]), torch.tensor([[1.0, 4]]), feature=0.5)
    with torch.no_grad():
        method.adapter.weight.copy_(torch.tensor([[1.0, 0], [0, 2]]))
        method.adapter.bias.copy_(torch.tensor([0.0, 1]))
    assert method.objective(make_batch(torch.tensor([0]))).terms["feature"].item() == 1.25


def test_without_the_feature_loss_it_is_hinton():
    terms = mjkd(feature=0).objective(make_batch()).terms
    assert list(terms) == ["ce", "logit"]
    assert sum(terms.values()).item() == pytest.approx(1.2712183125, abs=1e-10)
    assert list(mjkd().objective(make_batch()).terms) == ["ce", "feature", "logit"]


def test_equal_networks_have_zero_loss_and_order_does_not_matter():
    method = mjkd(S, S)
    with torch.no_grad():
        method.adapter.weight.copy_(torch.eye(5))
        method.adapter.bias.zero_()
    terms = method.objective(make_batch()).terms
    assert (terms["feature"].item(), terms["logit"].item()) == pytest.approx((0, 0), abs=1e-12)
    rows = torch.tensor([2, 0, 3, 1])
    other = mjkd(S[rows], T[rows])
    one = mjkd()
    other.adapter.load_state_dict(one.adapter.state_dict())
    for name in ("feature", "logit"):
        assert other.objective(make_batch()).terms[name].item() == pytest.approx(
            one.objective(make_batch()).terms[name].item(), rel=1e-12
        )


def test_gradient():
    method = mjkd(golden((3, 4), 0.7, 0.3), golden((3, 4), 1.3, 0.1, 2))
    batch = make_batch(torch.tensor([0, 3, 1]))
    inputs = (method.student.logits, method.adapter.weight, method.adapter.bias)
    assert torch.autograd.gradcheck(lambda *_: method.objective(batch).loss, inputs)
