"""Base classes of methods: defaults, errors for missing overrides, and the state."""

import pytest
import torch
from torch import Tensor, nn

from robustkd.criteria.ce import CE
from robustkd.method import Distiller, Method, backward_and_step
from robustkd.models.net import Frozen
from robustkd.types import Batch, Objective, Output
from tests.helpers import FIVE, ConstantNetwork, S, T, make_batch


class NoTransfer(Distiller):
    """A distiller without an additional term."""

    def transfer(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        return {}


class NoOverride(Method):
    """A method that overrides nothing."""


class NoOverrideDistiller(Distiller):
    """A distiller that overrides nothing."""


def distiller(
    cls: type[Distiller] = NoTransfer, student: Tensor = S, teacher: Tensor = T, ce: float = 1.0
) -> Distiller:
    return cls(ConstantNetwork(student), Frozen(ConstantNetwork(teacher)), lambda: CE(FIVE), ce=ce)


def test_a_distiller_weights_its_criterion():
    assert distiller(ce=0.3).objective(make_batch()).loss.item() == pytest.approx(0.3 * 2.3362513733, abs=1e-10)


def test_each_default_calls_the_one_before_it():
    method = distiller()
    (phase,) = method.phases()
    (objective,) = phase.step(make_batch())
    assert (phase.name, phase.epochs, phase.update) == ("train", None, backward_and_step)
    assert [id(p) for p in phase.parameters] == [id(p) for p in method.parameters()]
    assert objective.loss.item() == method.objective(make_batch()).loss.item()
    assert method.auxiliary_logits(torch.zeros(4, 1, 2, 2)) == {}


def test_missing_overrides_are_reported():
    with pytest.raises(TypeError, match="NoOverride overrides none of objective, step and phases"):
        NoOverride().objective(make_batch())
    with pytest.raises(TypeError, match="NoOverrideDistiller overrides none of transfer, objective, step and phases"):
        distiller(NoOverrideDistiller).objective(make_batch())


def test_backward_and_step_replaces_gradients():
    x = nn.Parameter(torch.tensor(3.0))
    x.grad = torch.tensor(100.0)
    backward_and_step(Objective({"square": x**2}), torch.optim.SGD([x], lr=0.1))
    assert (x.grad.item(), x.item()) == (6.0, pytest.approx(2.4))


def test_a_state_requires_the_same_teacher():
    state = distiller().state_dict()
    distiller(student=S + 1).load_state_dict(state)
    with pytest.raises(ValueError, match="another teacher"):
        distiller(teacher=T + 1).load_state_dict(state)
