"""Contracts of all criteria, checked for each entry of CRITERIA; and for each contract a criterion that violates it."""

import inspect
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_type_hints

import pytest
import torch
from torch import Tensor

from robustkd import types
from robustkd.criteria import CRITERIA
from robustkd.criteria.base import Criterion
from robustkd.criteria.ce import CE
from robustkd.methods import METHODS
from robustkd.models.layers import HEADS
from robustkd.specs import Spec, settable_parameters
from robustkd.types import Batch, Clock, DatasetInfo, Mixed
from tests.helpers import (
    SHAPE,
    build_study_method,
    golden,
    make_batch,
    make_loader,
    make_network,
    reload_state,
    small_view,
    toy_spec,
)

B, K = 6, 4
DATA = DatasetInfo(60, (30, 20, 10, 0), SHAPE)  # the last class has no samples
LABELS = torch.tensor([0, 0, 0, 1, 1, 2])


def build_criterion(spec: Spec, data: DatasetInfo = DATA) -> Criterion:
    criterion: Criterion = spec.load()(data, **spec.kwargs())
    return criterion


def logits(seed: int = 0) -> Tensor:
    return golden((B, K), 0.7, seed, 2).float()


def constructor_takes_dataset_info_only(spec: Spec) -> None:
    target = spec.load()
    hints = get_type_hints(target.__init__, include_extras=True)
    for name, parameter in inspect.signature(target).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            assert name in hints, f"{name} has no type"
            assert parameter.default is not parameter.empty, f"{name} has no default"
            assert types.validate(name, hints[name], parameter.default) == parameter.default
        else:
            assert name == "data", f"{name} is not an argument of criteria"
    assert target.head in HEADS


class TrueLabelsArgument(CE):
    def __init__(self, data: DatasetInfo, truth: Tensor) -> None:
        super().__init__(data)


def each_sample_has_its_own_finite_loss(spec: Spec) -> None:
    z = logits().requires_grad_()
    losses = build_criterion(spec)(z, make_batch(LABELS))
    assert losses.shape == (B,), f"{B} samples, losses of shape {tuple(losses.shape)}"
    assert losses.isfinite().all()
    assert losses.dtype is torch.float32
    for i in range(B):
        (gradient,) = torch.autograd.grad(losses[i], z, retain_graph=True)
        assert gradient.isfinite().all()
        touched = gradient.abs().sum(dim=1).nonzero().flatten().tolist()
        assert touched == [i], f"the loss of sample {i} depends on the logits of {touched}"


class MeanLoss(CE):
    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        return super().forward(logits, batch).mean()


def predicting_the_label_has_the_lowest_loss(spec: Spec) -> None:
    confident = 8 * torch.eye(K)[:3]
    for label in range(3):
        losses = [
            build_criterion(spec)(confident[[predicted]], make_batch(torch.tensor([label]))).item()
            for predicted in range(3)
        ]
        assert min(range(3), key=losses.__getitem__) == label, f"another prediction has a lower loss for label {label}"


class NegativeLoss(CE):
    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        return -super().forward(logits, batch)


def bf16_networks_change_nothing(spec: Spec) -> None:
    net = make_network(bf16=True)
    data = DatasetInfo(3, (1, 1, 1), SHAPE)
    z = net(torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(0))).logits
    labels = make_batch(torch.tensor([0, 1, 2]))
    losses, exact = build_criterion(spec, data)(z, labels), build_criterion(spec, data).double()(z.double(), labels)
    assert (net.bf16, losses.dtype) == (True, torch.float32)
    assert torch.allclose(losses.double(), exact, rtol=0, atol=1e-5), "the loss is less precise than float32"
    losses.sum().backward()
    assert all(p.grad is not None for p in net.parameters())


class Bfloat16Loss(CE):
    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        return super().forward(logits.bfloat16().float() if logits.dtype is torch.float32 else logits, batch)


def arguments_are_unchanged(spec: Spec) -> None:
    z, labels = logits(), make_batch(LABELS)
    build_criterion(spec)(z, labels)
    assert torch.equal(z, logits()), "the logits have changed"
    assert torch.equal(labels.labels, LABELS)


class InPlace(CE):
    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        return super().forward(logits.mul_(2), batch)


def the_state_is_complete(spec: Spec) -> None:
    one, other = build_criterion(spec), build_criterion(spec)
    for seed in range(3):
        one(logits(seed), make_batch(LABELS))
    other.load_state_dict(reload_state(one.state_dict()))
    losses = [criterion(logits(), make_batch(LABELS)) for criterion in (one, other)]
    assert torch.equal(*losses), "the state is incomplete"


class NonPersistentState(CE):
    before = 0.0

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        losses = super().forward(logits, batch)
        self.before = 0.5 * self.before + losses.mean().item()
        return losses * self.before


def extreme_logits_are_finite(spec: Spec) -> None:
    rows = 1e4 * torch.tensor(
        [[1, 0, -1, 0], [-1, 1, 0, 1], [1, 1, 1, 1], [-1, -1, -1, 1], [0, 1, 0, 0], [0, 0, 1, -1]]
    )
    for epoch in (0, 9):
        for sign in (1.0, -1.0):
            z = (sign * rows).requires_grad_()
            losses = build_criterion(spec)(z, replace(make_batch(LABELS), clock=Clock(epoch, 10)))
            losses.sum().backward()
            assert z.grad is not None
            assert losses.isfinite().all(), f"the losses of extreme logits are {losses.tolist()}"
            assert z.grad.isfinite().all(), "the gradients of extreme logits are not finite"


class LogOfSoftmax(CE):
    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        return -logits.softmax(dim=1).log().gather(1, batch.labels[:, None]).squeeze(1)


def few_and_many_classes_work(spec: Spec) -> None:
    for classes in (2, 1000):
        z = golden((3, classes), 0.7, 0.3, 3).float().requires_grad_()
        losses = build_criterion(spec, DatasetInfo(2 * classes, (2,) * classes, SHAPE))(
            z, make_batch(torch.tensor([0, 1, 1]))
        )
        losses.sum().backward()
        assert z.grad is not None
        assert losses.isfinite().all()
        assert (z.grad.abs().sum(dim=1) > 0).all(), f"of {classes} classes nothing is learned"


class FourClasses(CE):
    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        return super().forward(logits, batch) * (1.0 if logits.shape[1] == K else 0.0)


def the_gradient_is_that_of_the_loss(spec: Spec) -> None:
    batch = replace(make_batch(LABELS), clock=Clock(8, 10))

    def loss(z: Tensor) -> Tensor:
        return build_criterion(spec).double()(z, batch)

    z = golden((B, K), 0.7, 0.3, 2).requires_grad_()
    assert torch.autograd.gradcheck(loss, (z,), raise_exception=False), "the gradient is not that of the loss"


class DetachedTerm(CE):
    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        return super().forward(logits, batch) + logits.detach().square().sum(dim=1)


def the_loss_is_linear_in_the_label(spec: Spec) -> None:
    criterion, batch = build_criterion(spec), make_batch(LABELS)
    other, weight = LABELS.flip(0), torch.linspace(0, 1, B)
    mixed = replace(batch, mixed=Mixed(other, batch.index.flip(0), weight))
    losses = [build_criterion(spec)(logits(), part) for part in (batch, replace(batch, labels=other), mixed)]
    if criterion.supports_mixing:
        assert torch.allclose(losses[2], weight * losses[0] + (1 - weight) * losses[1]), (
            "mixed labels are not mixed losses"
        )


class FirstLabelOnly(CE):
    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        return self.forward(logits, batch)


CONTRACTS: dict[Callable[[Spec], None], tuple[type[Criterion], str]] = {
    constructor_takes_dataset_info_only: (TrueLabelsArgument, "truth is not an argument of criteria"),
    each_sample_has_its_own_finite_loss: (MeanLoss, r"6 samples, losses of shape \(\)"),
    predicting_the_label_has_the_lowest_loss: (NegativeLoss, "another prediction has a lower loss for label 0"),
    bf16_networks_change_nothing: (Bfloat16Loss, "the loss is less precise than float32"),
    arguments_are_unchanged: (InPlace, "the logits have changed"),
    the_state_is_complete: (NonPersistentState, "the state is incomplete"),
    extreme_logits_are_finite: (LogOfSoftmax, "the losses of extreme logits are"),
    few_and_many_classes_work: (FourClasses, "of 2 classes nothing is learned"),
    the_gradient_is_that_of_the_loss: (DetachedTerm, "the gradient is not that of the loss"),
    the_loss_is_linear_in_the_label: (FirstLabelOnly, "mixed labels are not mixed losses"),
}

EXEMPT = {(the_gradient_is_that_of_the_loss, "elr"): "its memory of predictions is a constant: see its own test"}


@pytest.mark.parametrize("word", CRITERIA)
@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
def test_every_criterion_fulfils_every_contract(contract, word):
    if (contract, word) in EXEMPT:
        pytest.skip(EXEMPT[contract, word])
    contract(CRITERIA.parse(word))


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
def test_every_contract_rejects_its_violation(contract):
    violation, message = CONTRACTS[contract]
    with pytest.raises(AssertionError, match=message):
        contract(toy_spec("criterion", violation))


@pytest.mark.parametrize("word", CRITERIA)
def test_the_page_of_criteria_has_every_word_and_every_parameter(word):
    page = (Path(__file__).parents[2] / "docs" / "criteria.md").read_text()
    assert f"| `{word}` |" in page
    (row,) = (line for line in page.splitlines() if line.startswith(f"| `{word}` |"))
    shared = {
        "drw",
        "prediction",
        "truncate",
        "start",
        "matrix",
        "estimate",
    }  # explained in other rows or below the table
    for name in settable_parameters(CRITERIA.parse(word).load()).keys() - shared:
        assert re.search(rf"\b{name}\b", row), f"{word} has no {name} in its row"


# --- with methods -----------------------------------------------------------------------------------------------------

# A memory of samples, a head of its own and a late weight, and a matrix that is estimated on the way.
DEMANDING = ("elr", "ldam(drw=true)", "forward")
COMBINATIONS = {
    *(f"{method}+{criterion}" for method in METHODS for criterion in DEMANDING),
    *(f"{method}+{criterion}" for method in ("hinton", "dml") for criterion in CRITERIA),
}


@pytest.mark.parametrize("text", sorted(COMBINATIONS))
def test_every_method_takes_every_criterion(text):
    method = build_study_method(text, view=small_view())
    for phase in method.phases():
        optimiser = torch.optim.SGD(phase.parameters, lr=0.01)
        if phase.begin is not None:
            phase.begin()
        for epoch in (0, 9):
            batch = next(make_loader(small_view(), views=method.views).iter_epoch(0, Clock(epoch, 10)))
            for objective in phase.step(batch):
                assert all(term.isfinite() for term in objective.terms.values())
                phase.update(objective, optimiser)
