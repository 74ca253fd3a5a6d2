"""dkd: separate KL terms for the label and for the other classes."""

import math

import pytest
import torch

from robustkd.criteria.ce import CE
from robustkd.functional import kl
from robustkd.methods.dkd import DKD, decoupled_kl
from robustkd.models.net import Frozen
from robustkd.types import Batch, Clock, Output
from tests.helpers import FIVE, LABELS, ConstantNetwork, S, T, make_batch


def dkd(**options: float) -> DKD:
    return DKD(ConstantNetwork(S), Frozen(ConstantNetwork(T)), lambda: CE(FIVE), **options)


def output(logits: torch.Tensor) -> Output:
    return Output(logits, logits, ())


def test_by_hand():
    # p_t = (1/2, 1/4, 1/4), p_s = (1/3, 1/3, 1/3), label 0: b_t = (1/2, 1/2), b_s = (1/3, 2/3), q the same (1/2, 1/2).
    target, logits = torch.tensor([[math.log(2), 0.0, 0.0]]).double(), torch.zeros(1, 3).double()
    sure, ranks = decoupled_kl(target, logits, torch.tensor([0]))
    assert sure.item() == pytest.approx(0.5 * math.log(1.5) + 0.5 * math.log(0.75))
    assert ranks.item() == pytest.approx(0, abs=1e-7)
    # Label 1: b_t = (1/4, 3/4), b_s = (1/3, 2/3); over the others the teacher has (2/3, 1/3).
    sure, ranks = decoupled_kl(target, logits, torch.tensor([1]))
    assert sure.item() == pytest.approx(0.25 * math.log(0.75) + 0.75 * math.log(9 / 8))
    assert ranks.item() == pytest.approx(2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_weighted_by_the_remaining_probability_it_equals_hinton(temperature: float):
    sure, ranks = decoupled_kl(T, S, LABELS, temperature)
    remaining = 1 - (T / temperature).softmax(dim=1)[torch.arange(4), LABELS]
    assert (sure + remaining * ranks).mean().item() == pytest.approx(kl(T, S, temperature).item(), abs=1e-12)


def test_equal_logits_have_zero_loss_and_gradient():
    student = T.clone().requires_grad_()
    terms = dkd().transfer(output(student), output(T), make_batch())
    sum(terms.values()).backward()
    assert sum(terms.values()).item() == pytest.approx(0, abs=1e-12)
    assert student.grad.abs().max() < 1e-12


def test_invariance_to_a_shift_of_logits():
    moved = decoupled_kl(T + 3, S - 2, LABELS, 4)
    for one, other in zip(moved, decoupled_kl(T, S, LABELS, 4), strict=True):
        torch.testing.assert_close(one, other)


def test_gradient():
    student = S.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: decoupled_kl(T, z, LABELS, 4.0), student)


@pytest.mark.parametrize(
    ("target", "logits", "labels"),
    [
        (torch.tensor([[1e4, 0.0, -1e4]]), torch.tensor([[-1e4, 0.0, 1e4]]), [0]),
        (T[:1], S[:1], [3]),
        (T[:1].repeat(3, 1), S[:1].repeat(3, 1), [1, 1, 1]),
        (0 * T, 0 * S, [0, 1, 2, 3]),
        (T[:, :2], S[:, :2], [0, 1, 1, 0]),
    ],
    ids=["sure of the opposite", "one", "identical", "flat", "two classes"],
)
def test_degenerate_batches_are_finite(target: torch.Tensor, logits: torch.Tensor, labels: list[int]):
    student = logits.clone().requires_grad_()
    parts = decoupled_kl(target, student, torch.tensor(labels), 4.0)
    sum(part.sum() for part in parts).backward()
    assert all(part.shape == (len(labels),) and part.isfinite().all() for part in parts)
    assert student.grad.isfinite().all()


def test_with_two_classes_the_non_target_part_is_zero():
    sure, ranks = decoupled_kl(T[:, :2], S[:, :2], LABELS % 2)
    assert ranks.abs().max().item() == 0
    assert sure.mean().item() == pytest.approx(kl(T[:, :2], S[:, :2]).item(), abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_finite_and_close(dtype: torch.dtype):
    # Networks return float32; this covers other callers.
    exact, coarse = (decoupled_kl(T.to(to), S.to(to), LABELS) for to in (torch.float64, dtype))
    for one, other in zip(coarse, exact, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=0.05, atol=0.02)


def test_warm_up_covers_a_fraction_of_the_run():
    def weight(epoch: int, epochs: int) -> float:
        now = Batch(torch.zeros(4, 1, 8, 8), LABELS, torch.arange(4), Clock(epoch, epochs))
        part = dkd().transfer(output(S), output(T), now)["sure"]
        return (part / dkd(warmup=0).transfer(output(S), output(T), now)["sure"]).item()

    assert [weight(epoch, 24) for epoch in (0, 1, 2, 23)] == pytest.approx([0.5, 1, 1, 1])
    assert weight(0, 240) == pytest.approx(0.05)


@pytest.mark.parametrize(
    "options", [{}, {"temperature": 1.0}, {"alpha": 0.0, "beta": 2.0}, {"alpha": 3.0, "beta": 0.0, "temperature": 2.0}]
)
def test_loss_matches_a_loop(options: dict[str, float]):
    values = {"alpha": 1.0, "beta": 6.0, "temperature": 4.0, **options}
    temperature, losses = values["temperature"], {"ce": [], "sure": [], "ranks": []}
    for t, s, y in zip(T.tolist(), S.tolist(), LABELS.tolist(), strict=True):
        p, q = (
            [math.exp(z / temperature) / sum(math.exp(v / temperature) for v in row) for z in row] for row in (t, s)
        )
        others = [k for k in range(5) if k != y]
        sure = p[y] * math.log(p[y] / q[y]) + (1 - p[y]) * math.log((1 - p[y]) / (1 - q[y]))
        ranks = sum(p[k] / (1 - p[y]) * math.log(p[k] / (1 - p[y]) / q[k] * (1 - q[y])) for k in others)
        losses["ce"].append(math.log(sum(map(math.exp, s))) - s[y])
        losses["sure"].append(values["alpha"] * temperature**2 * sure)
        losses["ranks"].append(values["beta"] * temperature**2 * ranks)
    terms = dkd(**options, warmup=0.0).objective(make_batch()).terms
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(
        {name: sum(values) / 4 for name, values in losses.items()}, abs=1e-12
    )
