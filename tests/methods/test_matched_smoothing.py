"""matched_smoothing: label smoothing whose rate is the teacher's mean uncertainty."""

import math

import pytest
import torch
from torch import Tensor

from robustkd.criteria.ce import CE
from robustkd.methods.matched_smoothing import MatchedSmoothing, matched_rate
from robustkd.models.net import Frozen
from tests.helpers import FIVE, ConstantNetwork, S, T, golden, make_batch


def matched_smoothing(student: Tensor = S, teacher: Tensor = T, **options: float) -> MatchedSmoothing:
    return MatchedSmoothing(ConstantNetwork(student), Frozen(ConstantNetwork(teacher)), lambda: CE(FIVE), **options)


def test_by_hand():
    # Teacher p = (3/4, 1/4): m = 3/4, e = (1/4) 2 / 1 = 1/2. Student p = (1/4, 3/4), label 0:
    # 1/2 log 4 + 1/2 * 1/2 (log 4 + log 4/3) = 0.6931472 + 0.4184941
    method = matched_smoothing(torch.tensor([[0.0, math.log(3)]]), torch.tensor([[math.log(3), 0.0]]))
    objective = method.objective(make_batch(torch.tensor([0])))
    assert objective.notes["smoothing"].item() == pytest.approx(0.5)
    assert {name: term.item() for name, term in objective.terms.items()} == pytest.approx(
        {"ce": 0.6931472, "labels": 0.4184941}, abs=1e-6
    )


def test_a_certain_teacher_is_plain_training_and_an_ignorant_one_ignores_the_labels():
    certain = matched_smoothing(teacher=100 * torch.eye(5)[:4].double()).objective(make_batch())
    assert certain.loss.item() == pytest.approx(2.3362513733, abs=1e-8)
    ignorant = matched_smoothing(teacher=torch.zeros_like(T)).objective(make_batch())
    assert ignorant.terms["ce"].item() == pytest.approx(0, abs=1e-12)
    assert ignorant.notes["smoothing"].item() == pytest.approx(1)


def test_the_target_is_as_confident_as_the_teacher():
    rate, classes = matched_rate(T, 1.0).item(), T.shape[1]
    confidence = sum(max(math.exp(z) / sum(map(math.exp, row)) for z in row) for row in T.tolist()) / len(T)
    assert 1 - rate + rate / classes == pytest.approx(confidence)


def test_which_class_the_teacher_prefers_does_not_matter():
    expected = matched_smoothing().objective(make_batch()).loss.item()
    assert matched_smoothing(teacher=T.roll(1, dims=1)).objective(make_batch()).loss.item() == pytest.approx(expected)


def test_a_higher_temperature_smooths_more():
    rates = [matched_rate(T, temperature).item() for temperature in (0.5, 1.0, 4.0, 1e6)]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(1, abs=1e-4)


def test_gradient_and_invariance_to_a_shift_of_logits():
    def loss(logits: Tensor) -> Tensor:
        method = matched_smoothing()
        del method.model.logits
        method.model.logits = logits
        return method.objective(make_batch()).loss

    assert torch.autograd.gradcheck(loss, (S.clone().requires_grad_(),))
    assert loss(S + golden((4, 1), 2.3, 0.2, 50)).item() == pytest.approx(loss(S).item(), rel=1e-12)
