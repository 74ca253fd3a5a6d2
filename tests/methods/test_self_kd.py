"""self_kd: a network of the student's architecture is trained first, then L = (1 - alpha) CE + alpha T^2 KL(p_t || p_s)."""

import math

import pytest
import torch
from torch import Tensor

from robustkd.criteria.ce import CE
from robustkd.methods import METHODS
from robustkd.methods.hinton import Hinton
from robustkd.methods.self_kd import SelfKD
from robustkd.models.net import Frozen
from robustkd.training.recipe import Recipe
from tests.helpers import (
    FIVE,
    LABELS,
    ConstantNetwork,
    S,
    T,
    build_method,
    build_study_method,
    large_view,
    make_batch,
    make_loader,
    reload_state,
    small_view,
    states_equal,
)

SELF_KD = METHODS.parse("self_kd")


def self_kd(student: Tensor = S, teacher: Tensor = T, **options: float) -> SelfKD:
    return SelfKD(lambda count: [ConstantNetwork(z) for z in (student, teacher)][:count], lambda: CE(FIVE), **options)


def test_golden_values():
    method = self_kd()
    terms = method.objective(make_batch()).terms
    assert terms["ce"].item() == pytest.approx(0.1 * 2.3362513733, abs=1e-10)
    assert terms["kd"].item() == pytest.approx(0.9 * 1.1528813057, abs=1e-10)  # T^2 = 16 times 0.0720550816


def test_by_hand():
    # T = 2: p_t = (3/4, 1/4), p_s = (1/2, 1/2), KL = 3/4 log(3/2) + 1/4 log(1/2) = 0.1308120
    # alpha = 1/2: kd = 1/2 * 4 * KL = 0.2616241, ce = 1/2 log 2 = 0.3465736. The first phase, label 1: -log p_t(1) at
    # T = 1, where p_t = (9, 1) / 10: log 10 = 2.3025851
    method = self_kd(torch.zeros(1, 2), torch.tensor([[2 * math.log(3), 0.0]]), alpha=0.5, temperature=2)
    terms = method.objective(make_batch(torch.tensor([1]))).terms
    assert (terms["kd"].item(), terms["ce"].item()) == pytest.approx((0.2616241, 0.3465736), abs=1e-6)
    (first,) = method.teacher_step(make_batch(torch.tensor([1])))
    assert first.loss.item() == pytest.approx(2.3025851, abs=1e-6)


@pytest.mark.parametrize("options", [{}, {"alpha": 0.3, "temperature": 7.0}])
def test_the_second_phase_is_hinton_with_another_teacher(options):
    theirs = Hinton(ConstantNetwork(S), Frozen(ConstantNetwork(T)), lambda: CE(FIVE), **options)
    ours, expected = self_kd(**options).objective(make_batch()).terms, theirs.objective(make_batch()).terms
    assert {name: term.item() for name, term in ours.items()} == {name: term.item() for name, term in expected.items()}


def test_equal_logits_up_to_a_shift_have_zero_loss_and_gradient():
    method = self_kd(T, T + torch.tensor([[3.0], [-40.0], [0.0], [7.0]]), alpha=1)
    objective = method.objective(make_batch())
    objective.loss.backward()
    assert objective.loss.item() == pytest.approx(0, abs=1e-12)
    assert method.model.logits.grad.abs().max() < 1e-12


def test_gradient():
    method = self_kd()

    def loss(student: Tensor) -> Tensor:
        del method.model.logits
        method.model.logits = student
        return method.objective(make_batch()).loss

    assert torch.autograd.gradcheck(loss, (S.clone().requires_grad_(),))


def test_each_phase_updates_its_own_network():
    method = self_kd()
    moved = [phase.parameters for phase in method.phases()]
    assert [[id(p) for p in some] for some in moved] == [[id(method.teacher.logits)], [id(method.model.logits)]]
    (first,) = method.teacher_step(make_batch())
    first.loss.backward()
    assert method.teacher.logits.grad is not None
    assert (method.model.calls, method.model.logits.grad) == (0, None)
    method.zero_grad()
    method.objective(make_batch()).loss.backward()
    assert method.model.logits.grad is not None
    assert method.teacher.logits.grad is None
    assert method.teacher.calls_with_grad == 1, "the teacher runs without gradients in the second phase"


@pytest.mark.parametrize("labels", [LABELS[:1], torch.full((4,), 2)])
def test_a_single_sample_and_a_single_class(labels):
    method = self_kd(S[:1].expand(len(labels), 5), T[:1].expand(len(labels), 5))  # identical rows
    for objective in (*method.teacher_step(make_batch(labels)), method.objective(make_batch(labels))):
        assert objective.loss.isfinite()


def test_the_teacher_is_fixed_in_the_second_phase_of_equal_length():
    built = build_method(SELF_KD)
    # The complete state of the teacher, including running statistics.
    rows = [
        (epoch.phase, reload_state(built.method.teacher.state_dict())) for epoch in built.train(small_view(), epochs=2)
    ]
    assert [phase for phase, _ in rows] == ["teacher", "teacher", "train", "train"]
    assert states_equal(rows[1][1], rows[3][1])
    assert not states_equal(rows[0][1], rows[1][1])
    assert [Recipe(epochs=7).phase_epochs(phase) for phase in built.method.phases()] == [7, 7]


def test_the_student_is_updated_only_in_the_second_phase():
    built = build_method(SELF_KD)
    before = reload_state(built.method.model.state_dict())
    states = [reload_state(built.method.model.state_dict()) for _ in built.train(small_view(), epochs=1)]
    assert states_equal(before, states[0])
    assert not states_equal(before, states[1])


def test_only_the_student_shares_the_initial_weights_of_the_baseline():
    def weights(method: str) -> list[Tensor]:
        built = build_study_method(method)
        nets = [built.model, *([built.teacher] if method == "self_kd" else [])]
        return [torch.cat([p.flatten() for p in net.parameters()]) for net in nets]

    (baseline,), (student, teacher) = weights("baseline"), weights("self_kd")
    assert torch.equal(baseline, student)
    assert not torch.equal(student, teacher)


def test_auxiliary_logits_are_those_of_the_trained_teacher():
    built = build_method(SELF_KD, view=large_view())
    built.train_fully(large_view(), epochs=6, size=12)
    ((images, labels),) = make_loader(large_view(), len(large_view())).iter_plain()
    auxiliary = built.method.auxiliary_logits(images)
    assert torch.equal(auxiliary["teacher"], built.method.teacher(images).logits)
    assert not torch.equal(auxiliary["teacher"], built.method.model(images).logits)
    assert (auxiliary["teacher"].argmax(dim=1) == labels).float().mean() > 0.9
