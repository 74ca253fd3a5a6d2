"""fsp: flows between neighbouring maps, learned first."""

import numpy as np
import pytest
import torch
from helpers import batch, facts, few, network
from test_relations import waves

from robustkd.criteria.ce import CE
from robustkd.methods.fsp import FSP, flow
from robustkd.models.net import Frozen
from robustkd.words import UsageError

P1, P2 = waves((4, 3, 4, 4), 0.37, 0.2), waves((4, 5, 2, 2), 0.61, 0.4)
Q1, Q2 = waves((4, 3, 4, 4), 0.29, 0.7), waves((4, 5, 2, 2), 0.83, 0.9)


def fsp(student: str = "resnet8", teacher: str = "resnet14", **chosen: object) -> FSP:
    known = facts(few())
    return FSP(network(student), Frozen(network(teacher, seed=1)), known, lambda: CE(known), **chosen)


def test_the_golden_values():
    difference = flow(P1, P2) - flow(Q1, Q2)
    assert difference.square().mean().item() == pytest.approx(0.112114697887, abs=1e-11)
    assert difference.square().sum((1, 2)).mean().item() == pytest.approx(1.681720468307, abs=1e-11)


def test_by_hand_and_by_loops():
    a = torch.tensor([1.0, 2, 3, 4]).reshape(1, 1, 2, 2)
    assert flow(a, a).item() == pytest.approx((1 + 4 + 9 + 16) / 4)
    assert flow(a, torch.tensor([10.0]).reshape(1, 1, 1, 1)).item() == pytest.approx(2.5 * 10)  # pooled to its mean
    made, x, y = flow(P1, Q1).numpy(), P1.numpy(), Q1.numpy()
    for b, i, j in np.ndindex(4, 3, 3):
        expected = sum(x[b, i, h, w] * y[b, j, h, w] for h in range(4) for w in range(4)) / 16
        assert made[b, i, j] == pytest.approx(expected)


def test_flows_do_not_move_with_the_order_of_places():
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    shuffled = [x.flatten(2)[:, :, order].reshape(x.shape) for x in (P1, Q1)]
    torch.testing.assert_close(flow(*shuffled), flow(P1, Q1))


def test_the_gradient_is_right():
    x = P1[:2].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: flow(x, P2[:2]), x)


def test_nets_alike_have_nothing_to_learn_from_one_another():
    method = fsp("resnet8", "resnet8")
    method.student.load_state_dict(method.teacher.net.state_dict())
    method.eval()
    (objective,) = method.follow(batch(images=torch.rand(4, 1, 8, 8)))
    assert objective.loss.item() == 0


def test_the_first_phase_moves_the_stages_and_not_the_head():
    method = fsp()
    names = {id(parameter): name for name, parameter in method.named_parameters()}
    flow_phase, train = method.phases()
    assert {names[id(parameter)].split(".")[1] for parameter in flow_phase.parameters} == {"stem", "stages"}
    assert {names[id(parameter)] for parameter in train.parameters} == set(names.values())
    assert (flow_phase.epochs, train.epochs) == (0.2, None)


def test_the_second_phase_is_hinton_or_plain():
    method, plain = fsp(alpha=0.7), fsp(second="plain")
    assert method.ce == pytest.approx(0.3)
    assert plain.ce == 1
    shown = batch(torch.tensor([0, 1, 2, 0]), torch.rand(4, 1, 8, 8))
    assert set(plain.objective(shown).terms) == {"ce"}


def test_other_channels_are_refused():
    with pytest.raises(UsageError, match=r"the student's maps have \[16, 16, 32, 64\] channels .* \[16, 32, 64, 128\]"):
        fsp("wrn_10_1", "wrn_10_2")
