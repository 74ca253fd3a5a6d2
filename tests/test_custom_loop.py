"""Methods and criteria as losses for a loop of one's own."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from robustkd.criteria import CRITERIA
from robustkd.custom_loop import DistillationLoss, SupervisedLoss
from robustkd.errors import UsageError
from robustkd.method_spec import MethodSpec
from robustkd.methods import METHODS
from robustkd.types import Batch, Clock
from tests.helpers import build_method, make_network, make_teacher, small_view

SHAPE, CLASSES = (1, 8, 8), 3
COUNTS = [30, 20, 10]
EVERYTHING: dict[str, Any] = {"shape": SHAPE, "counts": COUNTS, "epochs": 8}


def convolutional(width: int = 4, seed: int = 0) -> nn.Module:
    """A plain torch classifier."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU(inplace=True),
        nn.Conv2d(2 * width, 2 * width, 3, stride=2, padding=1), nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, CLASSES),
    )  # fmt: skip


def perceptron(seed: int = 0, classes: int = CLASSES) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, classes))


def draw_batch(size: int = 9) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.rand(size, *SHAPE, generator=generator), torch.arange(size) % CLASSES, torch.arange(size)


def make_loss(text: str, network: Callable[[int], nn.Module], **options: Any) -> DistillationLoss:
    """Return a method's loss with as many students as it needs."""
    wanted = MethodSpec.parse(text).ingredients()
    teacher = network(9) if "teacher" in wanted else None
    if "students" not in wanted:
        return DistillationLoss(text, network(0), teacher, **options)
    count = {"one": 3, "prune": 6}.get(text, 2)  # prune trains one for each of five folds
    return DistillationLoss(text, [network(seed) for seed in range(count)], teacher, **options)


def train_briefly(loss: DistillationLoss) -> list[float]:
    """Train a step of every phase, as the documentation shows it."""
    images, labels, index = draw_batch()
    values = []
    for phase in loss.phases():
        optimiser = torch.optim.SGD(phase.parameters, lr=0.01)
        if phase.begin is not None:
            phase.begin()
        for objective in phase.step(
            loss.batch(images, labels, index=index, epoch=2, views=[images] * len(loss.method.views))
        ):
            phase.update(objective, optimiser)
            values.append(objective.loss.item())
    return values


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_plain_modules(name: str) -> None:
    own_stages = name == "one"  # which splits networks at a stage
    word = f"{name}(ratio=2)" if "cost_ratio" in MethodSpec.parse(name).ingredients() else name
    loss = make_loss(
        word, lambda seed: make_network(seed=seed) if own_stages else convolutional(seed=seed), **EVERYTHING
    )
    values = train_briefly(loss)
    assert values
    assert np.isfinite(values).all()


@pytest.mark.parametrize("name", ["hinton", "at", "dkd", "rkd_da", "crd", "amkd", "psd"])
def test_the_loss_is_the_methods_own_objective(name: str) -> None:
    view = small_view()
    built = build_method(MethodSpec.parse(name).method)
    images, labels, index = draw_batch()
    batch = Batch(images, labels, index, Clock(2, 8))
    loss = DistillationLoss(
        name, make_network(), make_teacher().net, shape=view.sources[0].shape, counts=view.counts.tolist(),
        epochs=batch.clock.epochs,
    )  # fmt: skip
    loss.method.load_state_dict(built.method.state_dict())
    for method in (loss, built.method):
        method.train()
    torch.manual_seed(0)
    expected = built.method.objective(batch)
    found = loss.objective(batch.images, batch.labels, index=batch.index, epoch=batch.clock.epoch)
    assert found.terms.keys() == expected.terms.keys()
    for term, value in expected.terms.items():
        torch.testing.assert_close(found.terms[term], value)


def test_hinton_is_its_formula_and_needs_only_two_modules() -> None:
    student, teacher = perceptron(0), perceptron(1)
    images, labels, _ = draw_batch()
    loss = DistillationLoss("hinton(alpha=0.7, temperature=2)", student, teacher)
    p, q = teacher(images).div(2).softmax(1), student(images).div(2).log_softmax(1)
    expected = 0.3 * F.cross_entropy(student(images), labels) + 0.7 * 4 * F.kl_div(q, p, reduction="batchmean")
    torch.testing.assert_close(loss(images, labels), expected)
    assert {id(parameter) for parameter in loss.parameters()} == {id(parameter) for parameter in student.parameters()}
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    loss(images, labels).backward()
    assert all(parameter.grad is not None for parameter in student.parameters())


def test_a_loop_of_ones_own_learns_digits() -> None:
    digits = load_digits()
    images = torch.from_numpy(digits.images).float().div(16).unsqueeze(1)
    labels = torch.from_numpy(digits.target)
    train, test = torch.arange(len(labels)) % 4 > 0, torch.arange(len(labels)) % 4 == 0

    def fit(loss: nn.Module, parameters: Any, call: Callable[[Tensor, Tensor], Tensor]) -> None:
        optimiser = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
        for _ in range(6):
            for rows in torch.nonzero(train).flatten().split(64):
                optimiser.zero_grad()
                call(images[rows], labels[rows]).backward()
                optimiser.step()

    teacher, student = perceptron(0, 10), perceptron(1, 10)
    supervised = SupervisedLoss()
    fit(supervised, teacher.parameters(), lambda x, y: supervised(teacher(x), y))
    loss = DistillationLoss("hinton", student, teacher)
    fit(loss, loss.parameters(), loss)
    for network in (teacher, student):
        assert (network(images[test]).argmax(1) == labels[test]).float().mean() > 0.85


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("hintn", {}, "did you mean 'hinton'"),
        ("at", {}, r"at .*needs shape=\(C, H, W\)"),
        ("fitnet", {}, r"fitnet needs shape=\(C, H, W\)"),
        ("crd", {"shape": SHAPE}, r"crd needs counts=\[\.\.\.\]"),
        ("hinton+balanced", {}, r"needs counts"),
        ("hinton", {"shape": (8, 8)}, r"shape is \(8, 8\) but should be \(C, H, W\)"),
        ("hinton", {"counts": []}, "counts is"),
        ("dml", {}, "dml needs a list of 2 students, but 1 was given"),
    ],
)
def test_what_a_method_needs_is_said_when_it_is_made(name: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        DistillationLoss(name, convolutional(), convolutional(seed=1), **given)


def test_what_a_method_needs_with_a_batch_is_said_at_the_first() -> None:
    images, labels, _ = draw_batch()
    for name, given, message in [
        ("bss", {}, "bss has a schedule: it needs epoch="),
        ("crd", {"epoch": 0}, "crd needs index="),
        (
            "ccd",
            {},
            "ccd needs views of each image \\(jda_policy\\(.*\\)\\), views=\\[\\.\\.\\.\\], but 0 are given",
        ),
        ("mean_teacher", {"views": [images]}, "mean_teacher does more than one update"),
        ("fitnet", {}, "fitnet trains in phases"),
        ("mjkd", {}, "mjkd trains in phases, or with an update of its own"),
    ]:
        loss = make_loss(name, lambda seed: convolutional(seed=seed), **EVERYTHING)
        with pytest.raises(UsageError, match=message):
            loss(images, labels, **given)
    loss = make_loss("bss", lambda seed: convolutional(seed=seed), shape=SHAPE, counts=COUNTS)
    with pytest.raises(UsageError, match="it needs epochs="):
        loss(images, labels, epoch=0)


@pytest.mark.parametrize("name", ["tald(particles=1, steps=1)", "bss", "rkd_da", "hinton+balanced"])
def test_rows_are_needed_only_where_they_are_remembered(name: str) -> None:
    images, labels, index = draw_batch()
    values = []
    for given in ({}, {"index": index}):
        loss = make_loss(name, lambda seed: convolutional(seed=seed), **EVERYTHING)
        values.append(loss(images, labels, epoch=1, **given).item())
    assert values[0] == values[1]


def test_a_module_without_maps_works_where_logits_suffice() -> None:
    images, labels, _ = draw_batch()
    assert DistillationLoss("dkd", perceptron(0), perceptron(1), **EVERYTHING)(images, labels, epoch=0).isfinite()
    with pytest.raises(
        UsageError, match="at uses feature maps or embeddings, but Sequential has no layer that returns maps"
    ):
        DistillationLoss("at", perceptron(0), perceptron(1), **EVERYTHING)
    with pytest.raises(UsageError, match="hinton needs a teacher"):
        DistillationLoss("hinton", perceptron())
    three = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LazyLinear(3))
    with pytest.raises(UsageError, match="expects images of 3 channels"):
        DistillationLoss("hinton", three, perceptron(), shape=(2, 8, 8))


class Tuple(nn.Module):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images, images


def test_a_module_that_does_not_return_logits_is_refused() -> None:
    images, labels, _ = draw_batch()
    with pytest.raises(UsageError, match="Tuple returns a tuple"):
        DistillationLoss("baseline", Tuple())(images, labels)


def test_criteria_by_word() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels, _ = torch.randn(9, CLASSES, generator=generator), torch.arange(9) % CLASSES, None
    each = SupervisedLoss(reduction="none")(logits, labels)
    torch.testing.assert_close(each, F.cross_entropy(logits, labels, reduction="none"))
    weighted = SupervisedLoss("balanced", counts=torch.tensor(COUNTS))(logits, labels)
    expected = (
        -(logits.exp() * torch.tensor(COUNTS))[range(9), labels].div(logits.exp() @ torch.tensor(COUNTS).float()).log()
    )
    torch.testing.assert_close(weighted, expected.mean())
    with pytest.raises(UsageError, match="balanced needs counts"):
        SupervisedLoss("balanced")
    with pytest.raises(UsageError, match="did you mean 'balanced'"):
        SupervisedLoss("balance")
    with pytest.raises(UsageError, match="reduction is 'sum'"):
        SupervisedLoss(reduction="sum")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CRITERIA)
def test_every_criterion_is_a_loss(name: str) -> None:
    loss = SupervisedLoss(name, counts=COUNTS, epochs=3)
    logits = torch.zeros(9, CLASSES, requires_grad=True)
    loss(logits, torch.arange(9) % CLASSES, index=torch.arange(9), epoch=1).backward()
    assert logits.grad is not None


@pytest.mark.parametrize("method", ["at", "crd", "rkd_da", "mffkd"])
@pytest.mark.parametrize(("student", "teacher"), [("test_resnet", "test_vit"), ("test_vit", "test_resnet")])
def test_classifiers_of_timm_teach_one_another(method: str, student: str, teacher: str) -> None:
    torch.manual_seed(0)
    nets = [
        timm.create_model(name, num_classes=3, **({"img_size": 32} if name == "test_vit" else {}))
        for name in (student, teacher)
    ]
    loss = DistillationLoss(method, *nets, shape=(3, 32, 32), counts=[2, 2, 2], epochs=2)
    objective = loss.objective(torch.rand(6, 3, 32, 32), torch.arange(6) % 3, index=torch.arange(6), epoch=0)
    assert all(term.isfinite() and term > 0 for term in objective.terms.values())
    objective.loss.backward()
    assert all(parameter.grad is None for parameter in nets[1].parameters())
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in nets[0].parameters())
