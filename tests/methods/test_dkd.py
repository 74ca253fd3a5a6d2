"""dkd: the label's part and the others' part of a softened answer."""

import math

import pytest
import torch
from helpers import FIVE, LABELS, S, Says, T, batch

from robustkd.criteria.ce import CE
from robustkd.functional import kl
from robustkd.methods.dkd import DKD, decoupled
from robustkd.models.net import Frozen
from robustkd.records import Batch, Clock, Output


def dkd(**chosen: float) -> DKD:
    return DKD(Says(S), Frozen(Says(T)), lambda: CE(FIVE), **chosen)


def answer(logits: torch.Tensor) -> Output:
    return Output(logits, logits, ())


def test_by_hand():
    # p_t = (1/2, 1/4, 1/4), p_s = (1/3, 1/3, 1/3), label 0: b_t = (1/2, 1/2), b_s = (1/3, 2/3), q the same (1/2, 1/2).
    target, logits = torch.tensor([[math.log(2), 0.0, 0.0]]).double(), torch.zeros(1, 3).double()
    sure, ranks = decoupled(target, logits, torch.tensor([0]))
    assert sure.item() == pytest.approx(0.5 * math.log(1.5) + 0.5 * math.log(0.75))
    assert ranks.item() == pytest.approx(0, abs=1e-7)
    # Label 1: b_t = (1/4, 3/4), b_s = (1/3, 2/3); of the others the teacher thinks (2/3, 1/3).
    sure, ranks = decoupled(target, logits, torch.tensor([1]))
    assert sure.item() == pytest.approx(0.25 * math.log(0.75) + 0.75 * math.log(9 / 8))
    assert ranks.item() == pytest.approx(2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_with_the_teachers_doubt_as_weight_it_is_hinton(temperature: float):
    sure, ranks = decoupled(T, S, LABELS, temperature)
    doubt = 1 - (T / temperature).softmax(dim=1)[torch.arange(4), LABELS]
    assert (sure + doubt * ranks).mean().item() == pytest.approx(kl(T, S, temperature).item(), abs=1e-12)


def test_agreement_is_zero_and_flat():
    student = T.clone().requires_grad_()
    terms = dkd().transfer(answer(student), answer(T), batch())
    sum(terms.values()).backward()
    assert sum(terms.values()).item() == pytest.approx(0, abs=1e-12)
    assert student.grad.abs().max() < 1e-12


def test_a_shift_of_the_logits_changes_nothing():
    moved = decoupled(T + 3, S - 2, LABELS, 4)
    for one, other in zip(moved, decoupled(T, S, LABELS, 4), strict=True):
        torch.testing.assert_close(one, other)


def test_the_gradient_is_right():
    student = S.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: decoupled(T, z, LABELS, 4.0), student)


def test_a_sure_teacher_and_a_sure_student_stay_finite():
    sure = torch.tensor([[1e4, 0.0, -1e4]])
    student = -sure.clone().requires_grad_()
    sum(part.mean() for part in decoupled(sure, student, torch.tensor([0]))).backward()
    assert all(torch.isfinite(part).all() for part in decoupled(sure, student, torch.tensor([0])))


def test_it_warms_up_over_a_fraction_of_the_run():
    def weight(epoch: int, epochs: int) -> float:
        now = Batch(torch.zeros(4, 1, 8, 8), LABELS, torch.arange(4), Clock(epoch, epochs))
        part = dkd().transfer(answer(S), answer(T), now)["sure"]
        return (part / dkd(warmup=0).transfer(answer(S), answer(T), now)["sure"]).item()

    assert [weight(epoch, 24) for epoch in (0, 1, 2, 23)] == pytest.approx([0.5, 1, 1, 1])
    assert weight(0, 240) == pytest.approx(0.05)
