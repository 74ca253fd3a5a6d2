"""The moving average of a network's weights."""

import copy

import pytest
import torch
from torch import nn

from robustkd.methods import METHODS
from robustkd.training.averaging import WeightAverage
from robustkd.training.engine import fit
from robustkd.training.recipe import Recipe
from tests.helpers import build_method, make_loader, make_network, small_view, states_equal


def test_the_average_by_hand():
    net = make_network()
    average, expected = WeightAverage(net, 0.3), None
    for update in range(5):
        with torch.no_grad():
            for tensor in (*net.parameters(), net.get_buffer("neck.0.running_mean")):
                tensor.add_(update + 1)
        average.update(net)
        now = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        decay = min(0.3, (1 + update) / (10 + update))
        if expected is None:
            expected = now
        else:
            expected = {
                name: decay * old + (1 - decay) * now[name] if old.is_floating_point() else now[name]
                for name, old in expected.items()
            }
    found = average.averaged.module.state_dict()
    assert all(torch.allclose(found[name], tensor, atol=1e-6) for name, tensor in expected.items())
    assert int(average.averaged.n_averaged) == 5


def test_counters_of_batches_are_copied():
    net = make_network()
    average = WeightAverage(net, 0.9)
    average.update(net)
    net.neck[0].num_batches_tracked.fill_(7)
    average.update(net)
    assert average.averaged.module.neck[0].num_batches_tracked.item() == 7


@pytest.mark.parametrize("word", ["baseline", "tau_norm", "dive", "crt"])
def test_the_averaged_network_is_evaluated_as_the_model_is_and_leaves_the_method_alone(word):
    made = build_method(METHODS.parse(word))
    epochs = fit(made.method, make_loader(small_view()), Recipe(2, 0.05, ema=0.5), random=made.random)
    networks = []
    for epoch in epochs:
        before = copy.deepcopy(made.method.state_dict())
        networks.append(epoch.average())
        assert states_equal(before, made.method.state_dict())
    assert [net is not None for net in networks] == {
        "dive": [False, False, True, True],
        "crt": [True] * 3,
    }.get(word, [True, True])
    last = networks[-1]
    assert not last.training
    different = [not torch.equal(a, b) for a, b in zip(last.parameters(), made.method.model.parameters(), strict=True)]
    assert any(different)
    if word == "tau_norm":  # each class has a weight of norm 1 for inference
        assert torch.allclose(last.head.weight.norm(dim=1), torch.ones(3), atol=1e-6)


def test_without_an_average_there_is_no_network():
    made = build_method(METHODS.parse("baseline"))
    assert [epoch.average() for epoch in fit(made.method, make_loader(small_view()), Recipe(1, 0.05))] == [None]


def test_a_long_decay_starts_as_a_short_one():
    net = make_network()
    average = WeightAverage(net, 0.999)
    assert isinstance(net.head, nn.Linear)
    for value in (0.0, 1.0):
        nn.init.constant_(net.head.bias, value)
        average.update(net)
    assert average.averaged.module.head.bias.tolist() == pytest.approx([1 - 2 / 11] * 3)
