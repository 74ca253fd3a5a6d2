"""Accuracy under attack: sanity checks that distinguish a weak attack from a robust network, and the figures."""

import copy
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustkd.attacks import gradient
from robustkd.attacks.gradient import gradient_sign
from robustkd.data.loader import Loader
from robustkd.data.view import Source, View
from robustkd.evaluation import robustness
from robustkd.evaluation.robustness import evaluate_attacks
from tests.evaluation.module_network import ModuleNetwork
from tests.helpers import large_view, make_loader, make_network, make_teacher, small_view

CPU = torch.device("cpu")


def linear_network(weight: Tensor, scale: float = 1.0) -> ModuleNetwork:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(scale * weight)
        layer.bias.zero_()
    return ModuleNetwork(nn.Sequential(nn.Flatten(), layer))


@cache
def accuracy_under(attack: str) -> float:
    """The accuracy of a trained network under one attack."""
    (figures,) = evaluate_attacks(make_teacher().net, make_loader(large_view(), 60), attack).values()
    return float(figures["accuracy"])


def test_accuracy_decreases_with_eps_and_to_zero_for_an_unlimited_change():
    predictions = make_teacher()(torch.from_numpy(large_view().images() / np.float32(255))).logits.argmax(dim=1)
    clean = float(np.mean(predictions.numpy() == large_view().labels))
    assert clean > 0.9
    accuracies = [accuracy_under(f"pgd(eps={eps})") for eps in (0, "8/255", "16/255", "32/255", "64/255", 0.5, 1)]
    assert accuracies[0] == pytest.approx(clean)
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[-2] < 0.05
    assert accuracy_under("fgsm(eps=0)") == pytest.approx(clean)
    assert accuracy_under("fgsm(eps=64/255)") < clean


@pytest.mark.parametrize("eps", ["16/255", "32/255", "48/255", "64/255"])
def test_more_steps_and_restarts_are_at_least_as_strong(eps: str):
    one, twenty, more = (accuracy_under(f"{attack}eps={eps})") for attack in ("fgsm(", "pgd(", "pgd(20, 3, "))
    assert more <= twenty <= one


def test_a_confident_network_is_attacked_as_well():
    """With logits 1,000 apart, cross entropy and its gradient are 0, so an attack by them would not move."""
    W = torch.zeros(2, 64)
    W[0, 3], W[1, 30] = 1, 1
    labels = np.arange(20) % 2
    images = np.full((20, 1, 8, 8), 100, np.uint8)
    images.reshape(20, 64)[labels == 0, 3] = images.reshape(20, 64)[labels == 1, 30] = 104
    loader = Loader(View.of(Source("dots", images, labels, ("a", "b"))), 20, CPU, augment=False)
    for scale in (1.0, 1e5):
        figures = evaluate_attacks(linear_network(W, scale), loader, "fgsm(eps=0),fgsm(eps=4/255),pgd(eps=4/255)")
        assert [f["accuracy"] for f in figures.values()] == [1, 0, 0]


def test_bf16_networks_are_attacked_in_float32():
    # With the same weights, results are equal: bfloat16 would round gradients and predictions.
    loader, net = make_loader(large_view(), 60), make_teacher(bf16=True).net
    assert net.bf16
    spec = "fgsm(eps=32/255),pgd(eps=32/255)"
    assert evaluate_attacks(net, loader, spec) == evaluate_attacks(make_teacher().net, loader, spec)
    assert net.bf16


# --- the figures -----------------------------------------------------------------------------------------------------


def test_figures_are_reported_for_each_radius_and_class():
    loader = make_loader(large_view(), 60)
    figures = evaluate_attacks(make_teacher().net, loader, "fgsm,pgd,pgd20,pgd5,pgd(steps=2, restarts=2, eps=0.5/255)")
    assert list(figures) == [
        *("fgsm 8/255", "fgsm 2/255", "pgd20 8/255", "pgd20 2/255", "pgd5 8/255", "pgd5 2/255", "pgd2x2 0.5/255")
    ]
    for each in figures.values():
        assert set(each) == {"accuracy", "balanced_accuracy", "recall"}
        assert list(each["recall"]) == ["left", "middle", "right"]
        assert each["balanced_accuracy"] == pytest.approx(np.mean(list(each["recall"].values())))


def test_a_class_without_samples_has_no_recall():
    view = large_view().take(np.flatnonzero(large_view().labels != 1))
    figures = evaluate_attacks(make_teacher().net, make_loader(view, 16), "fgsm(eps=48/255)")["fgsm 48/255"]
    left, right = figures["recall"]["left"], figures["recall"]["right"]
    assert figures["recall"]["middle"] is None
    assert figures["balanced_accuracy"] == pytest.approx((left + right) / 2)
    assert figures["accuracy"] == pytest.approx((left + right) / 2)  # the classes are of equal size


def test_the_network_is_unchanged_and_results_are_reproducible(monkeypatch: pytest.MonkeyPatch):
    net = make_network("resnet8").train()
    net.head.requires_grad_(False)
    before, learning = copy.deepcopy(net.state_dict()), [p.requires_grad for p in net.parameters()]
    net.stem.eval()
    modes, state = [part.training for part in net.modules()], torch.get_rng_state()
    first = evaluate_attacks(net, make_loader(small_view(), 6), "fgsm,pgd3")
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(7)
    monkeypatch.setattr(robustness, "MAX_PIXELS", 64)
    monkeypatch.setattr(robustness, "MIN_BATCH", 12)  # the size of the pieces makes no difference
    assert evaluate_attacks(net, make_loader(small_view(), 6), "fgsm,pgd3") == first
    assert all(torch.equal(net.state_dict()[name], before[name]) for name in before)
    assert [part.training for part in net.modules()] == modes
    assert [p.requires_grad for p in net.parameters()] == learning
    assert all(p.grad is None for p in net.parameters())
    assert torch.is_grad_enabled()


def test_large_batches_are_attacked_in_pieces(monkeypatch: pytest.MonkeyPatch):
    sizes: list[int] = []
    whole = evaluate_attacks(make_teacher().net, make_loader(large_view(), 60), "fgsm")
    monkeypatch.setattr(robustness, "MAX_PIXELS", 1)
    monkeypatch.setattr(robustness, "MIN_BATCH", 7)
    monkeypatch.setattr(gradient, "gradient_sign", lambda *all_: (sizes.append(len(all_[1])), gradient_sign(*all_))[1])
    assert evaluate_attacks(make_teacher().net, make_loader(large_view(), 60), "fgsm") == whole
    assert sizes == 2 * [7, 7, 7, 7, 7, 7, 7, 7, 4]


@pytest.mark.parametrize("attack", ["mine:attack", "package.inner:attack", "package/inner.py:attack"])
def test_a_users_attack_is_reported_with_its_largest_change(attack: str, user_modules: Path):
    loader, net = make_loader(small_view(), 6), make_teacher().net
    state = copy.deepcopy(net.state_dict())
    with torch.no_grad():
        figures = evaluate_attacks(net, loader, f"fgsm,{attack}")[attack]
    assert all(torch.equal(net.state_dict()[name], state[name]) for name in state)
    loader = make_loader(small_view(), 12)
    ((images, labels),) = loader.iter_plain()
    perturbed = images + 0.1 * (images < 0.5)
    perturbed[0] += 0.15 * (perturbed[0] < 0.5)
    net.eval()
    assert figures["accuracy"] == pytest.approx((net(perturbed).logits.argmax(1) == labels).float().mean().item())
    assert figures["largest_linf"] == pytest.approx(0.25)
    assert figures["largest_l2"] == pytest.approx((perturbed - images).flatten(1).norm(dim=1).max().item(), rel=1e-5)


def test_a_users_attack_is_reproducible(user_modules: Path):
    first = evaluate_attacks(make_teacher().net, make_loader(small_view(), 12), "mine:noisy")
    torch.rand(3)
    assert evaluate_attacks(make_teacher().net, make_loader(small_view(), 12), "mine:noisy") == first
