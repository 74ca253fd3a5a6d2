"""kdcl: L = sum_m CE(z_m, y) + lambda T^2 sum_m KL(p_t || p_m), with p_t computed from all logits and detached."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from robustkd.criteria.ce import CE
from robustkd.methods.kdcl import KDCL, minlogit_target, naive_target
from robustkd.types import Batch, Output
from tests.helpers import FIVE, LABELS, ConstantNetwork, S, T, golden, make_batch

THIRD = golden((4, 5), 0.5, 0.9)
ALL = (S, T, THIRD)


def kdcl(*logits: Tensor, **options: object) -> KDCL:
    nets = [ConstantNetwork(z) for z in logits or (S, T)]
    return KDCL(lambda count: nets[:count], lambda: CE(FIVE), **{"networks": len(nets), **options})


def losses(*logits: Tensor, labels: Tensor = LABELS) -> list[Tensor]:
    return [z.logsumexp(dim=1) - z.gather(1, labels[:, None])[:, 0] for z in logits]


def test_by_hand():
    # z_1 = (2 log 3, 0, 0), z_2 = (0, 0, -2 log 3), label 0. Minus the logit of the label: (0, -2 log 3, -2 log 3) and
    # (0, 0, -2 log 3); the minimum: (0, -2 log 3, -2 log 3). At T = 2 that is p_t = p_1 = (3, 1, 1)/5, and p_2 = (3, 3, 1)/7.
    # KL_1 = 0, KL_2 = 3/5 log(7/5) + 1/5 log(7/15) + 1/5 log(7/5) = 0.1167498; times lambda T^2 = 4
    a = 2 * math.log(3)
    method = kdcl(torch.tensor([[a, 0, 0]]), torch.tensor([[0, 0, -a]]))
    terms = method.objective(make_batch(torch.tensor([0]))).terms
    assert list(terms) == ["ce/1", "ce/2", "kl/1", "kl/2"]
    assert terms["kl/1"].item() == pytest.approx(0, abs=1e-6)
    assert terms["kl/2"].item() == pytest.approx(4 * 0.1167498, abs=1e-6)
    assert terms["ce/1"].item() == pytest.approx(math.log(11 / 9), abs=1e-6)


def test_targets_match_a_loop():
    minlogit, naive = minlogit_target(ALL, LABELS), naive_target(ALL, losses(*ALL))
    selected = set()
    for b, label in enumerate(LABELS.tolist()):
        rows = [z[b].tolist() for z in ALL]
        assert minlogit[b].tolist() == pytest.approx([min(row[k] - row[label] for row in rows) for k in range(5)])
        entropy = [math.log(sum(map(math.exp, row))) - row[label] for row in rows]
        selected.add(entropy.index(min(entropy)))
        assert naive[b].tolist() == rows[entropy.index(min(entropy))]
    assert len(selected) > 1  # not the same network for the whole batch


@pytest.mark.parametrize(("target", "temperature"), [("minlogit", 2.0), ("naive", 2.0), ("minlogit", 3.0)])
def test_loss_matches_a_loop(target, temperature):
    method = kdcl(*ALL, target=target, temperature=temperature, weight=0.5)
    target_logits = (
        minlogit_target(ALL, LABELS) if target == "minlogit" else naive_target(ALL, losses(*ALL))
    ) / temperature
    for m, z in enumerate(ALL, 1):
        total = 0.0
        for b in range(4):
            p, q = ([math.exp(v) for v in row[b].tolist()] for row in (target_logits, z / temperature))
            total += sum(x / sum(p) * math.log((x / sum(p)) / (y / sum(q))) for x, y in zip(p, q, strict=True)) / 4
        term = method.objective(make_batch()).terms[f"kl/{m}"].item()
        assert term == pytest.approx(0.5 * temperature**2 * total, rel=1e-9)


def test_minlogit_target_gives_the_label_more_than_any_network():
    target_logits, *each = losses(minlogit_target(ALL, LABELS), *ALL)
    assert (target_logits <= torch.stack(each).amin(dim=0)).all()
    assert (losses(naive_target(ALL, each))[0] - torch.stack(each).amin(dim=0)).abs().max() < 1e-12


@pytest.mark.parametrize("target", ["minlogit", "naive"])
def test_invariance_to_shifts_and_zero_kl_of_equal_networks(target):
    plain, moved = kdcl(S, T, target=target), kdcl(S + golden((4, 1), 2.3, 0.2, 50), T - 7, target=target)
    assert moved.objective(make_batch()).loss.item() == pytest.approx(
        plain.objective(make_batch()).loss.item(), rel=1e-10
    )
    terms = kdcl(S, S + 3, target=target).objective(make_batch()).terms
    assert max(terms["kl/1"].item(), terms["kl/2"].item()) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("target", ["minlogit", "naive"])
def test_the_target_is_detached_and_each_loss_reaches_its_own_network(target):
    method = kdcl(*ALL, target=target)
    for kind in ("ce", "kl"):
        for m in range(3):
            method.zero_grad(set_to_none=True)
            method.objective(make_batch()).terms[f"{kind}/{m + 1}"].backward()
            assert [n for n, net in enumerate(method.students) if net.logits.grad is not None] == [m]


def test_gradient_of_the_kl_term():
    # p_t is detached: the derivative with respect to z_m is lambda T (p_m - p_t) / B, although p_t depends on z_m
    method = kdcl(*ALL, temperature=2.0, weight=3.0)
    method.objective(make_batch()).terms["kl/2"].backward()
    exact = 3 * 2 * (torch.softmax(T / 2, 1) - torch.softmax(minlogit_target(ALL, LABELS) / 2, 1)) / 4
    assert torch.allclose(method.students[1].logits.grad, exact, atol=1e-12)


def test_gradient_of_the_minlogit_target():
    inputs = tuple(z.clone().requires_grad_() for z in ALL)
    assert torch.autograd.gradcheck(lambda *z: minlogit_target(z, LABELS), inputs)


class RecordingNetwork(ConstantNetwork):
    """Records its input."""

    def forward(self, images: Tensor) -> Output:
        self.inputs = images
        return super().forward(images)


def test_every_other_network_receives_the_second_augmentation():
    nets = [RecordingNetwork(z) for z in ALL]
    method = KDCL(lambda count: nets, lambda: CE(FIVE), networks=3)
    assert tuple(method.views) == ("again",)
    batch = replace(make_batch(), views=(torch.ones(4, 1, 2, 2),))
    method.objective(batch)
    assert [net.inputs is batch.images for net in nets] == [True, False, True]
    assert nets[1].inputs is batch.views[0]


def test_naive_uses_only_the_criterion_and_minlogit_only_the_label():
    class Backwards(CE):
        def forward(self, logits: Tensor, batch: Batch) -> Tensor:
            return -super().forward(logits, batch)

    worst = [loss.neg() for loss in losses(S, T)]
    for target, target_logits in (
        ("naive", naive_target((S, T), worst)),
        ("minlogit", minlogit_target((S, T), LABELS)),
    ):
        method = KDCL(lambda count: [ConstantNetwork(S), ConstantNetwork(T)], lambda: Backwards(FIVE), target=target)
        exact = 4 * torch.nn.functional.kl_div(
            torch.log_softmax(S / 2, 1), torch.softmax(target_logits / 2, 1), reduction="batchmean"
        )
        assert method.objective(make_batch()).terms["kl/1"].item() == pytest.approx(exact.item(), rel=1e-10)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("target", ["minlogit", "naive"])
def test_half_precision_and_degenerate_batches_are_finite(dtype, target):
    for rows, labels in (([0], [3]), ([1, 1, 1], [2, 2, 2])):
        logits = [(20 * z[rows]).to(dtype) for z in ALL]
        assert kdcl(*logits, target=target).objective(make_batch(torch.tensor(labels))).loss.isfinite()


def test_the_first_network_is_the_model():
    method = kdcl()
    assert method.model is method.students[0]
    assert len(method.criteria) == 2
