"""hinton: L = (1 - alpha) CE + alpha T^2 KL(p_t || p_s)."""

import math

import pytest
import torch
from torch import Tensor

from robustkd.criteria.ce import CE
from robustkd.methods.hinton import Hinton
from robustkd.models.net import Frozen
from robustkd.types import Output
from tests.helpers import FIVE, LABELS, ConstantNetwork, S, T, golden, make_batch


def hinton(student: Tensor = S, teacher: Tensor = T, **options: float) -> Hinton:
    return Hinton(ConstantNetwork(student), Frozen(ConstantNetwork(teacher)), lambda: CE(FIVE), **options)


def kd(student: Tensor, teacher: Tensor = T, **options: float) -> Tensor:
    answers = (Output(logits, logits, ()) for logits in (student, teacher))
    return hinton(**options).transfer(*answers, make_batch())["kd"]


def test_golden_value():
    objective = hinton().objective(make_batch())
    assert objective.loss.item() == pytest.approx(1.2712183125, abs=1e-10)
    assert objective.terms["ce"].item() == pytest.approx(0.1 * 2.3362513733, abs=1e-10)
    assert objective.terms["kd"].item() == pytest.approx(0.9 * 1.1528813057, abs=1e-10)  # T^2 = 16 times 0.0720550816


def test_by_hand():
    # T = 2: p_t = (3/4, 1/4), p_s = (1/2, 1/2), KL = 3/4 log(3/2) + 1/4 log(1/2) = 0.1308120
    # alpha = 1/2: kd = 1/2 * 4 * KL = 0.2616241, ce = 1/2 log 2 = 0.3465736
    method = hinton(torch.zeros(1, 2), torch.tensor([[2 * math.log(3), 0.0]]), alpha=0.5, temperature=2)
    terms = method.objective(make_batch(torch.tensor([1]))).terms
    assert terms["kd"].item() == pytest.approx(0.2616241, abs=1e-6)
    assert terms["ce"].item() == pytest.approx(0.3465736, abs=1e-6)


def test_a_high_temperature_matches_centred_logits():
    # T^2 KL -> sum_k (c_s - c_t)^2 / 2K for c = z - mean(z), and its gradient with respect to z_s -> (c_s - c_t) / K
    student = S.clone().requires_grad_()
    loss = kd(student, alpha=1, temperature=1e4)
    loss.backward()
    for b in range(4):
        for k in range(5):
            centred = (S[b, k] - sum(S[b]) / 5) - (T[b, k] - sum(T[b]) / 5)
            assert student.grad[b, k].item() == pytest.approx(centred.item() / 5 / 4, abs=1e-4)
    squares = ((S - S.mean(1, keepdim=True)) - (T - T.mean(1, keepdim=True))).square().sum()
    assert loss.item() == pytest.approx(squares.item() / 10 / 4, rel=1e-3)


def test_equal_logits_have_zero_loss_and_gradient():
    student = T.clone().requires_grad_()
    loss = kd(student)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert student.grad.abs().max() < 1e-12


def test_invariance_to_a_shift_of_logits():
    shift = golden((4, 1), 2.3, 0.2, 50)
    assert kd(S + shift, T - shift).item() == pytest.approx(kd(S).item(), rel=1e-10)


def test_gradient():
    assert torch.autograd.gradcheck(kd, (S.clone().requires_grad_(),))


def test_alpha_weights_the_teacher():
    plain = hinton(alpha=0).objective(make_batch()).loss
    distilled = hinton(alpha=1).objective(make_batch())
    assert plain.item() == pytest.approx(2.3362513733, abs=1e-10)
    assert distilled.loss.item() == distilled.terms["kd"].item()


def test_the_teacher_runs_once_without_gradients():
    method = hinton()
    method.objective(make_batch()).loss.backward()
    assert (method.teacher.net.calls, method.teacher.net.calls_with_grad) == (1, 0)
    assert method.teacher.net.logits.grad is None
    assert method.student.logits.grad.abs().min() > 0


def test_labels_are_those_of_the_batch():
    wrong = hinton(alpha=0).objective(make_batch((LABELS + 1) % 5)).loss
    assert abs(wrong.item() - 2.3362513733) > 0.1


@pytest.mark.parametrize(
    ("student", "teacher"),
    [(S[:1], T[:1]), (S[:1].repeat(4, 1), T), (0 * S, 0 * T), (1e4 * S, -1e4 * T), (S[:, :1], T[:, :1])],
    ids=["one", "identical", "flat", "sure", "one class"],
)
def test_degenerate_batches_are_finite(student: Tensor, teacher: Tensor):
    method = hinton(student, teacher)
    loss = method.objective(make_batch(torch.zeros(len(student), dtype=torch.long))).loss
    loss.backward()
    assert loss.isfinite()
    assert method.student.logits.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_finite_and_close(dtype: torch.dtype):
    # Networks return float32; this covers other callers.
    assert kd(S.to(dtype), T.to(dtype)).item() == pytest.approx(0.9 * 1.1528813057, rel=0.02)
