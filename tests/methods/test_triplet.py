"""triplet: the teacher's logits as the anchor, the student's as the positive, those of another class as the negative."""

import pytest
import torch
from torch import Tensor

from robustkd.criteria.ce import CE
from robustkd.functional import triplet_loss
from robustkd.methods.triplet import Triplet
from robustkd.models.net import Frozen
from tests.helpers import FIVE, LABELS, ConstantNetwork, S, T, golden, make_batch


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def triplet(student: Tensor = S, teacher: Tensor = T, seed: int = 0, **options: object) -> Triplet:
    return Triplet(
        ConstantNetwork(student), Frozen(ConstantNetwork(teacher)), lambda: CE(FIVE), seeded(seed), **options
    )


def term(method: Triplet, labels: Tensor = LABELS) -> Tensor:
    return method.objective(make_batch(labels)).terms["triplet"]


def test_golden_value():
    loss = triplet_loss(T, S, S.roll(1, 0), 5.0).mean().item()
    assert loss == pytest.approx(4.9380091314, abs=1e-10)
    lengths = [(T - other).square().sum(dim=1).sqrt() for other in (S, S.roll(1, 0))]
    exact = (lengths[0] - lengths[1] + 5).clamp(min=0).mean().item()
    assert exact == pytest.approx(4.9380091638, abs=1e-10)
    assert loss == pytest.approx(exact, abs=1e-7)


def test_by_hand():
    # Anchors (0,0) and (3,4), positives (0,0) and (0,0), so each is the other's negative: 0 - 0 + 5 and 5 - 5 + 5, times 2.
    teacher = torch.tensor([[0.0, 0], [3, 4]], dtype=torch.float64)
    method = triplet(torch.zeros(2, 2, dtype=torch.float64), teacher)
    assert term(method, torch.tensor([0, 1])).item() == pytest.approx(10.0, abs=1e-5)


def test_matches_a_loop():
    # Two classes of two: the negative of each is one of two samples. The mean over many draws is the mean over pairs.
    labels, total = torch.tensor([0, 1, 0, 1]), []
    for i in range(4):
        for j in range(4):
            if labels[i] != labels[j]:
                to_positive = sum((a - b) ** 2 for a, b in zip(T[i].tolist(), S[i].tolist(), strict=True)) ** 0.5
                to_negative = sum((a - b) ** 2 for a, b in zip(T[i].tolist(), S[j].tolist(), strict=True)) ** 0.5
                total.append(max(0.0, to_positive - to_negative + 5))
    method = triplet(weight=1.0)
    drawn = [term(method, labels).item() for _ in range(400)]
    assert len(set(drawn)) > 1
    assert sum(drawn) / 400 == pytest.approx(sum(total) / len(total), abs=0.03)


def test_a_student_equal_to_its_teacher_beyond_the_margin_has_zero_gradient():
    distinct = 100 * torch.eye(4, 5, dtype=torch.float64)
    method = triplet(distinct, distinct)
    loss = term(method)
    loss.backward()
    assert loss.item() == 0
    assert method.student.logits.grad.abs().max() == 0
    assert method.objective(make_batch()).notes["active"] == 0


def test_invariance_to_a_common_shift_and_rotation():
    turn, _ = torch.linalg.qr(golden((5, 5), 1.7, 0.3))
    assert term(triplet(S @ turn + 3, T @ turn + 3)).item() == pytest.approx(term(triplet()).item(), rel=1e-6)


@pytest.mark.parametrize("negatives", ["label", "teacher"])
def test_negatives_are_never_of_the_anchors_class(negatives):
    # Only sample 3 has another class. The distances show which negatives were selected.
    labels = torch.tensor([0, 0, 0, 1])
    teacher = 9 * torch.eye(5, dtype=torch.float64)[labels]
    batch = labels if negatives == "label" else torch.arange(4)  # all labels differ, but not the teacher's predictions
    expected = torch.stack([triplet_loss(teacher[:3], S[:3], S[[3, 3, 3]], 5.0).sum()])
    for seed in range(5):
        method = triplet(S, teacher, seed, negatives=negatives, weight=1.0)
        loss = 4 * term(method, batch)
        last = [triplet_loss(teacher[3:], S[3:], S[[i]], 5.0).item() for i in range(3)]
        assert min(abs((loss - expected).item() - value) for value in last) < 1e-9


@pytest.mark.parametrize("labels", [torch.zeros(4, dtype=torch.long), torch.tensor([2])])
def test_without_another_class_there_is_no_triplet(labels):
    rows = slice(0, len(labels))
    method = triplet(S[rows], T[rows])
    loss = term(method, labels)
    loss.backward()
    assert loss.item() == 0
    assert method.student.logits.grad.abs().max() == 0


def test_identical_logits_have_finite_gradients():
    same = torch.ones(4, 5, dtype=torch.float64)
    method = triplet(same, same)
    loss = term(method)
    loss.backward()
    assert loss.item() == pytest.approx(10, abs=1e-4)  # 2 * (0 - 0 + 5)
    assert method.student.logits.grad.isfinite().all()


def test_optional_kd_term():
    terms = triplet(kd=1.0).objective(make_batch()).terms
    assert terms["kd"].item() == pytest.approx(0.7890244234, abs=1e-10)
    assert "kd" not in triplet().objective(make_batch()).terms


def test_gradient():
    def loss(student: Tensor) -> Tensor:
        return triplet_loss(T, student, student.roll(1, 0), 5.0)

    assert torch.autograd.gradcheck(loss, (S.clone().requires_grad_(),))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_finite(dtype):
    student = S.to(dtype).requires_grad_()
    loss = triplet_loss(T.to(dtype), student, student.roll(1, 0), 5.0).mean()
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()
