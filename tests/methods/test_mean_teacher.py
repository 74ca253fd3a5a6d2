"""mean_teacher: L = CE(z_s, y) + r(e) (mse 1/K ||p_s - p_a||^2 + kl KL(p_a || p_s)), a the moving average of the student."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from robustkd.criteria.ce import CE
from robustkd.functional import kl_per_sample, sigmoid_rampup
from robustkd.method import backward_and_step
from robustkd.methods import METHODS
from robustkd.methods.mean_teacher import MeanTeacher, squared_error
from robustkd.types import Batch, Clock, DatasetInfo
from tests.helpers import (
    FIVE,
    LABELS,
    SHAPE,
    ConstantNetwork,
    S,
    T,
    build_method,
    golden,
    make_batch,
    make_network,
    small_view,
)


def mean_teacher(student: Tensor = S, average: Tensor = T, **options: object) -> MeanTeacher:
    info = DatasetInfo(100, (20,) * student.shape[1], (1, 2, 2))
    method = MeanTeacher(ConstantNetwork(student), info, lambda: CE(info), **{"ramp": 0.0, **options})
    method.average.logits.copy_(average)
    return method


def paired(labels: Tensor = LABELS, images: Tensor | None = None, clock: tuple[int, int] = (0, 1)) -> Batch:
    """A batch with its second view."""
    batch = make_batch(labels, images)
    return replace(batch, views=(batch.images.flip(0),), clock=Clock(*clock))


def softmax(row: list[float]) -> list[float]:
    return [math.exp(z) / sum(math.exp(other) for other in row) for z in row]


def test_by_hand():
    # p_s = (1/2, 1/2), p_a = (3/4, 1/4): 1/K ||.||^2 = (1/16 + 1/16) / 2 = 1/16, KL(p_a || p_s) = 0.1308120, label 1
    method = mean_teacher(torch.zeros(1, 2), torch.tensor([[math.log(3), 0.0]]), mse=8, kl=10)
    terms = method.objective(paired(torch.tensor([1]))).terms
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(
        {"ce": 0.6931472, "mse": 0.5, "kl": 1.3081204}, abs=1e-6
    )


def test_defaults_are_those_of_the_authors_code_for_cifar10():
    method = MeanTeacher(ConstantNetwork(S), FIVE, lambda: CE(FIVE))
    assert (method.kl, method.decay, method.consistent) == (0, 0.97, "all")
    assert method.ramp == 5 / 180
    assert method.model is method.average
    objective = mean_teacher(mse=100).objective(paired())
    assert list(objective.terms) == ["ce", "mse"]
    assert objective.terms["ce"].item() == pytest.approx(2.3362513733, abs=1e-10)
    total = sum(
        (p - q) ** 2
        for s, t in zip(S.tolist(), T.tolist(), strict=True)
        for p, q in zip(softmax(s), softmax(t), strict=True)
    )
    assert objective.terms["mse"].item() == pytest.approx(100 * total / 20, rel=1e-12)


@pytest.mark.parametrize(("classes", "weight"), [(2, 4), (10, 55.555556), (100, 5050.505051)])
def test_the_weight_follows_the_number_of_classes(classes, weight):
    # An undecided student: the gradient of CE is v = 1/K - e_0, and that of the squared error 2 / K^2 v.
    certain = torch.zeros(1, classes)
    certain[0, 0] = 60.0
    method = mean_teacher(torch.zeros(1, classes, dtype=torch.float64), certain.double())
    assert (method.mse, method.resolved) == (pytest.approx(weight), {"mse": pytest.approx(weight)})
    terms = method.objective(paired(torch.tensor([0]))).terms
    ce, mse = (torch.autograd.grad(terms[name], method.student.logits, retain_graph=True)[0] for name in ("ce", "mse"))
    assert torch.allclose(mse, ce / (1 - 1 / classes), rtol=1e-6)


def test_a_given_weight_stays_as_it_is():
    method = mean_teacher(mse=100)
    assert (method.mse, method.resolved) == (100, {})


def test_kl_is_from_the_average_to_the_student():
    assert kl_per_sample(T, S).mean().item() == pytest.approx(0.7890244234, abs=1e-10)  # KL(Tch || S)
    assert mean_teacher(kl=10).objective(paired()).terms["kl"].item() == pytest.approx(7.890244234, abs=1e-9)


@pytest.mark.parametrize("distance", [squared_error, kl_per_sample])
def test_equal_logits_have_zero_loss_up_to_a_shift(distance):
    shifted = S + golden((4, 1), 2.3, 0.2, 50)
    assert distance(S, shifted).abs().max() < 1e-12
    assert torch.allclose(distance(T, shifted), distance(T, S), rtol=1e-10)


@pytest.mark.parametrize("distance", [squared_error, kl_per_sample])
def test_gradients_and_half_precision(distance):
    assert torch.autograd.gradcheck(lambda z: distance(T, z), (S.clone().requires_grad_(),))
    for dtype in (torch.float16, torch.bfloat16):
        assert distance(30 * T.to(dtype), 30 * S.to(dtype)).isfinite().all()


def test_the_weight_rises_over_a_fraction_of_the_run():
    # R = 0.25 * 8 = 2 epochs: exp(-5), exp(-5 / 4), 1, 1
    sizes = [mean_teacher(ramp=0.25).objective(paired(clock=(epoch, 8))).terms["mse"].item() for epoch in (0, 1, 2, 7)]
    full = mean_teacher().objective(paired()).terms["mse"].item()
    assert [size / full for size in sizes] == pytest.approx([math.exp(-5), math.exp(-1.25), 1, 1], rel=1e-10)
    assert sigmoid_rampup(Clock(0, 8), 0) == 1.0


def test_no_gradient_reaches_the_average():
    method = mean_teacher(kl=1)
    method.objective(paired()).loss.backward()
    assert method.student.logits.grad is not None
    assert method.average.logits.grad is None
    assert (method.average.calls, method.average.calls_with_grad) == (1, 0)


def test_the_average_receives_the_second_view(monkeypatch):
    method = MeanTeacher(make_network(), FIVE, lambda: CE(FIVE), ramp=0.0)
    batch, seen = paired(torch.tensor([0, 1, 2, 0]), torch.rand(4, *SHAPE)), []
    for net in (method.student, method.average):
        net.register_forward_pre_hook(lambda net, given: seen.append(given[0]))
    method.objective(batch)
    assert seen[0] is batch.images
    assert seen[1] is batch.views[0]


def run_updates(decay: float, updates: int) -> tuple[list[Tensor], Tensor]:
    """The student at the start and after each update, and its average at the end."""
    method = MeanTeacher(ConstantNetwork(S), FIVE, lambda: CE(FIVE), decay=decay)
    optimiser, students = torch.optim.SGD(method.parameters(), lr=1.0, weight_decay=0.1), [S]
    for _ in range(updates):
        for objective in method.step(paired()):
            backward_and_step(objective, optimiser)
        students.append(method.student.logits.detach().clone())
    return students, method.average.logits


def test_the_average_starts_as_an_arithmetic_mean():
    students, average = run_updates(decay=0.99, updates=6)  # 1 - 1 / (t + 1) is at most 6/7
    assert torch.allclose(average, sum(students) / 7, rtol=1e-6)
    assert (students[0] - students[-1]).abs().max() > 0.1


def test_the_average_continues_with_its_decay():
    students, average = run_updates(decay=0.6, updates=6)  # 1/2 at the first update, 0.6 from the second on
    expected = (students[0] + students[1]) / 2
    for student in students[2:]:
        expected = expected + 0.4 * (student - expected)
    assert torch.allclose(average, expected, rtol=1e-6)


def test_batch_norm_of_the_average_collects_its_own_statistics():
    built = build_method(METHODS.parse("mean_teacher"))
    built.train_fully(small_view(), epochs=1)
    (ours, theirs) = (dict(net.named_buffers()) for net in (built.method.average, built.method.student))
    means = [name for name in ours if name.endswith("running_mean")]
    assert means
    assert all(ours[name].any() and not torch.equal(ours[name], theirs[name]) for name in means)
    assert built.method.updates == 2  # an epoch of two batches
    images = torch.rand(2, *SHAPE)
    assert torch.equal(built.method.auxiliary_logits(images)["student"], built.method.student(images).logits)


def test_unreliable_applies_consistency_where_average_and_label_differ():
    given = T.argmax(dim=1)
    labels = torch.where(torch.tensor([True, False, False, True]), given, (given + 1) % 5)
    objective = mean_teacher(consistent="unreliable", mse=100, kl=10).objective(paired(labels))
    distance, differ = squared_error(T, S), kl_per_sample(T, S)
    assert objective.terms["mse"].item() == pytest.approx(100 * (distance[1] + distance[2]).item() / 4, rel=1e-12)
    assert objective.terms["kl"].item() == pytest.approx(10 * (differ[1] + differ[2]).item() / 4, rel=1e-12)
    assert objective.notes["doubted"].item() == 0.5


def test_unreliable_with_no_and_with_all_labels_unreliable():
    given = T.argmax(dim=1)
    no, all_ = (
        mean_teacher(consistent="unreliable").objective(paired(labels)).terms["mse"]
        for labels in (given, (given + 1) % 5)
    )
    assert no.item() == 0
    assert all_.item() == mean_teacher().objective(paired()).terms["mse"].item()


@pytest.mark.parametrize("consistent", ["all", "unreliable"])
@pytest.mark.parametrize("labels", [LABELS[:1], torch.full((4,), 2)])
def test_a_single_sample_and_a_single_class(consistent, labels):
    rows = (z[:1].expand(len(labels), 5) for z in (S, T))  # identical rows
    objective = mean_teacher(*rows, consistent=consistent).objective(paired(labels))
    objective.loss.backward()
    assert objective.loss.isfinite()
