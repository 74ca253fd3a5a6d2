"""dive: balanced softmax, and distillation from the flattened predictions of a teacher trained with it."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from robustkd.criteria.balanced import Balanced
from robustkd.criteria.ce import CE
from robustkd.criteria.smooth import LabelSmoothing
from robustkd.errors import UsageError
from robustkd.functional import kl
from robustkd.methods.dive import DiVE, virtual_example_loss
from robustkd.types import DatasetInfo
from tests.helpers import LABELS, ConstantNetwork, S, T, make_batch

COUNTS = (90, 30, 10, 5, 2)
DATA = DatasetInfo(137, COUNTS, (1, 2, 2))


def dive(student: Tensor = S, teacher: Tensor = T, data: DatasetInfo = DATA, **options: float) -> DiVE:
    nets = [ConstantNetwork(student), ConstantNetwork(teacher)]
    return DiVE(lambda count: nets[:count], data, lambda: CE(data), **options)


def test_by_hand() -> None:
    # p = (0.9, 0.1) at T 1; its square roots, (3, 1) / sqrt(10), are normalised to q = (3/4, 1/4). The student has (1/2, 1/2):
    # KL = 3/4 log(3/2) + 1/4 log(1/2) = 0.1308120.
    teacher = torch.tensor([[math.log(9), 0.0]])
    assert virtual_example_loss(teacher, torch.zeros(1, 2), 0.5, 1.0).item() == pytest.approx(0.1308120, abs=1e-6)


def test_the_loss_is_that_of_the_equations_sample_by_sample() -> None:
    alpha, temperature, power, total = 0.3, 2.0, 0.5, 0.0
    for s, t, label in zip(S.tolist(), T.tolist(), LABELS.tolist(), strict=True):
        weights = [n * math.exp(z) for n, z in zip(COUNTS, s, strict=True)]
        p, r = ([math.exp(z / temperature) for z in row] for row in (t, s))
        q = [(x / sum(p)) ** power for x in p]
        divergence = sum(x / sum(q) * math.log((x / sum(q)) / (y / sum(r))) for x, y in zip(q, r, strict=True))
        total += -(1 - alpha) * math.log(weights[label] / sum(weights)) + alpha * temperature**2 * divergence
    method = dive(alpha=alpha, temperature=temperature, power=power)
    assert method.objective(make_batch()).loss.item() == pytest.approx(total / 4, rel=1e-6)


def test_a_power_of_one_is_plain_distillation_and_a_smaller_one_a_higher_temperature() -> None:
    assert virtual_example_loss(T, S, 1.0, 3.0).item() == pytest.approx(9 * kl(T, S, 3.0).item())
    assert virtual_example_loss(2 * T, S, 0.5, 1.0).item() == pytest.approx(kl(T, S, 1.0).item())


def test_balanced_counts_and_alpha_zero_are_cross_entropy() -> None:
    equal = DatasetInfo(50, (10,) * 5, (1, 2, 2))
    expected = F.cross_entropy(S, LABELS).item()
    assert dive(data=equal, alpha=0).objective(make_batch()).loss.item() == pytest.approx(expected, rel=1e-6)


def test_shifts_of_the_logits_have_no_effect() -> None:
    one, other = dive(), dive(S + 3, T - torch.arange(4)[:, None])
    assert one.objective(make_batch()).loss.item() == pytest.approx(other.objective(make_batch()).loss.item(), rel=1e-6)


def test_gradients() -> None:
    assert torch.autograd.gradcheck(lambda z: virtual_example_loss(T, z, 0.5, 2.0), S.clone().requires_grad_())


def test_the_teacher_is_trained_first_and_alone() -> None:
    method = dive()
    (objective,) = method.teacher_step(make_batch())
    assert objective.loss.item() == pytest.approx(
        F.cross_entropy(T + torch.tensor(COUNTS).log(), LABELS).item(), rel=1e-6
    )
    objective.loss.backward()
    assert method.teacher.logits.grad is not None
    assert method.model.logits.grad is None
    method.zero_grad(set_to_none=True)
    method.objective(make_batch()).loss.backward()
    assert method.teacher.logits.grad is None
    assert [phase.name for phase in method.phases()] == ["teacher", "train"]


def test_a_criterion_that_corrects_for_class_sizes_is_refused() -> None:
    nets = [ConstantNetwork(S), ConstantNetwork(T)]
    with pytest.raises(UsageError, match=r"^dive adjusts for class sizes itself"):
        DiVE(lambda count: nets[:count], DATA, lambda: Balanced(DATA))


def test_a_class_without_labels_leaves_every_criterion_finite() -> None:
    """Smoothed labels give it some probability, of which the logarithm of no sample would make the loss infinite."""
    data = DatasetInfo(135, (90, 30, 10, 5, 0), (1, 2, 2))
    nets = [ConstantNetwork(S.clone().requires_grad_()), ConstantNetwork(T)]
    method = DiVE(lambda count: nets[:count], data, lambda: LabelSmoothing(data))
    loss = method.objective(make_batch()).loss
    assert loss.isfinite()
