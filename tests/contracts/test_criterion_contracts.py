"""What every criterion keeps to, asked of each entry of CRITERIA; and for each contract a criterion that it rejects."""

import inspect
from collections.abc import Callable
from typing import get_type_hints

import pytest
import torch
from helpers import SHAPE, golden, make_batch, make_network, reload_state, toy_spec
from torch import Tensor

from robustkd import types
from robustkd.criteria import CRITERIA
from robustkd.criteria.base import Criterion
from robustkd.criteria.ce import CE
from robustkd.models.layers import HEADS
from robustkd.specs import Spec
from robustkd.types import Batch, DatasetInfo

B, K = 6, 4
DATA = DatasetInfo(60, (30, 20, 10, 0), SHAPE)  # the last class has no samples
LABELS = torch.tensor([0, 0, 0, 1, 1, 2])


def made(word: Spec, data: DatasetInfo = DATA) -> Criterion:
    criterion: Criterion = word.load()(data, **word.kwargs())
    return criterion


def logits(seed: int = 0) -> Tensor:
    return golden((B, K), 0.7, seed, 2).float()


def it_asks_for_the_facts_alone(word: Spec) -> None:
    target = word.load()
    hints = get_type_hints(target.__init__, include_extras=True)
    for name, parameter in inspect.signature(target).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            assert name in hints, f"{name} has no type"
            assert parameter.default is not parameter.empty, f"{name} has no default"
            assert types.validate(name, hints[name], parameter.default) == parameter.default
        else:
            assert name == "data", f"{name} is nothing a criterion is given"
    assert target.head in HEADS


class Curious(CE):
    def __init__(self, data: DatasetInfo, truth: Tensor) -> None:
        super().__init__(data)


def each_sample_has_a_finite_loss_of_its_own(word: Spec) -> None:
    z = logits().requires_grad_()
    losses = made(word)(z, make_batch(LABELS))
    assert losses.shape == (B,), f"{B} samples, losses of shape {tuple(losses.shape)}"
    assert losses.isfinite().all()
    assert losses.dtype is torch.float32
    for i in range(B):
        (gradient,) = torch.autograd.grad(losses[i], z, retain_graph=True)
        assert gradient.isfinite().all()
        touched = gradient.abs().sum(dim=1).nonzero().flatten().tolist()
        assert touched == [i], f"the loss of sample {i} moves the logits of {touched}"


class Averaging(CE):
    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        return super().forward(logits, batch).mean()


def a_label_is_something_to_agree_with(word: Spec) -> None:
    confident = 8 * torch.eye(K)[:3]
    for label in range(3):
        losses = [made(word)(confident[[said]], make_batch(torch.tensor([label]))).item() for said in range(3)]
        assert min(range(3), key=losses.__getitem__) == label, f"label {label} is best met by another answer"


class Contrary(CE):
    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        return -super().forward(logits, batch)


def half_nets_change_nothing(word: Spec) -> None:
    net = make_network(half=True)
    data = DatasetInfo(3, (1, 1, 1), SHAPE)
    z = net(torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(0))).logits
    labels = make_batch(torch.tensor([0, 1, 2]))
    losses, exact = made(word, data)(z, labels), made(word, data).double()(z.double(), labels)
    assert (net.bf16, losses.dtype) == (True, torch.float32)
    assert torch.allclose(losses.double(), exact, rtol=0, atol=1e-5), "more is lost than float32 has to lose"
    losses.sum().backward()
    assert all(p.grad is not None for p in net.parameters())


class Coarse(CE):
    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        return super().forward(logits.bfloat16().float() if logits.dtype is torch.float32 else logits, batch)


def what_it_is_given_stays_as_it_was(word: Spec) -> None:
    z, given = logits(), make_batch(LABELS)
    made(word)(z, given)
    assert torch.equal(z, logits()), "the logits have changed"
    assert torch.equal(given.labels, LABELS)


class Rude(CE):
    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        return super().forward(logits.mul_(2), batch)


def its_state_is_all_it_remembers(word: Spec) -> None:
    one, other = made(word), made(word)
    for seed in range(3):
        one(logits(seed), make_batch(LABELS))
    other.load_state_dict(reload_state(one.state_dict()))
    answers = [criterion(logits(), make_batch(LABELS)) for criterion in (one, other)]
    assert torch.equal(*answers), "it remembers what is not in its state"


class Forgetful(CE):
    before = 0.0

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        losses = super().forward(logits, batch)
        self.before = 0.5 * self.before + losses.mean().item()
        return losses * self.before


CONTRACTS: dict[Callable[[Spec], None], tuple[type[Criterion], str]] = {
    it_asks_for_the_facts_alone: (Curious, "truth is nothing a criterion is given"),
    each_sample_has_a_finite_loss_of_its_own: (Averaging, r"6 samples, losses of shape \(\)"),
    a_label_is_something_to_agree_with: (Contrary, "label 0 is best met by another answer"),
    half_nets_change_nothing: (Coarse, "more is lost than float32 has to lose"),
    what_it_is_given_stays_as_it_was: (Rude, "the logits have changed"),
    its_state_is_all_it_remembers: (Forgetful, "it remembers what is not in its state"),
}


@pytest.mark.parametrize("word", CRITERIA)
@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
def test_every_criterion_keeps_every_contract(contract, word):
    contract(CRITERIA.parse(word))


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
def test_every_contract_rejects_who_breaks_it(contract):
    broken, said = CONTRACTS[contract]
    with pytest.raises(AssertionError, match=said):
        contract(toy_spec("criterion", broken))
