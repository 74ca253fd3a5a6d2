"""Heads and backbones inside methods: which networks there are, heads that are trained first, and fixed batch statistics."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from robustkd.methods import METHODS
from robustkd.models.net import Network
from robustkd.training.backbones import backbone_parameters, find_networks, find_new_heads, head_parameters
from robustkd.training.engine import fit
from robustkd.training.recipe import Recipe
from tests.helpers import build_method, make_loader, reload_state, small_view, states_equal

RECIPE = Recipe(3, 0.01, "cosine", optimiser="adamw", head_first=1)


@pytest.mark.parametrize(
    ("word", "count"), [("baseline", 1), ("hinton", 1), ("dml", 2), ("one", 3), ("mean_teacher", 2), ("prune", 6)]
)
def test_each_network_of_a_method_is_found_once(word, count):
    method = build_method(METHODS.parse(word)).method
    networks = find_networks(method)
    assert len(networks) == len({*networks}) == count
    assert method.model in networks
    for net in networks:
        both = [*head_parameters(net), *backbone_parameters(net)]
        assert {id(p) for p in both} == {id(p) for p in net.parameters()}
        assert len(both) == len([*net.parameters()])


def new_heads(word: str) -> list[list[str]]:
    """Return the names of the networks whose heads are new, for each phase."""
    method = build_method(METHODS.parse(word)).method
    names = {module: name for name, module in method.named_modules() if isinstance(module, Network)}
    phases = method.phases()
    return [[names[net] for net in find_new_heads(method, phases, index)] for index in range(len(phases))]


def test_a_head_is_new_in_the_first_phase_that_trains_it():
    assert new_heads("baseline") == [["model"]]
    assert new_heads("dive") == [["teacher"], ["model"]]
    assert new_heads("crt") == [["model"], []]
    assert [len(heads) for heads in new_heads("fitnet")] == [0, 1], "the first phase trains no head"
    assert [len(heads) for heads in new_heads("fsp")] == [0, 1]
    assert new_heads("mean_teacher") == [["student"]], "the average is not trained by an optimiser"
    assert [len(heads) for heads in new_heads("prune")] == [5, 1]


def snapshot(method) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in method.named_parameters()} | {
        name: tensor.clone() for name, tensor in method.named_buffers() if "running" in name
    }


@pytest.mark.parametrize("word", ["baseline", "dml", "one", "mffkd", "kdcl", "mean_teacher", "bss", "crd"])
def test_in_the_first_epoch_all_but_the_backbones_is_trained(word):
    made = build_method(METHODS.parse(word))
    trained = [p for p in made.method.parameters() if p.requires_grad]
    below = {id(p) for net in find_networks(made.method) for p in backbone_parameters(net)}
    names = {name for name, p in made.method.named_parameters() if id(p) in below}
    names |= {
        f"{prefix}.{name}"
        for prefix, net in made.method.named_modules()
        if isinstance(net, Network)
        for name, _ in net.named_buffers()
        if "running" in name
    }
    before, states = snapshot(made.method), []
    loader = make_loader(small_view(), views=made.method.views)
    for _ in fit(made.method, loader, RECIPE, random=made.random):
        states.append(snapshot(made.method))
        assert all(p.requires_grad for p in trained), "gradients are computed again"
    moved = {name for name in before if not torch.equal(before[name], states[0][name])}
    frozen = {name for name in names if word != "mean_teacher" or name.startswith("student.")}
    assert not moved & frozen
    assert any(".head." in name or name.startswith("head.") for name in moved)
    later = {name for name in before if not torch.equal(states[0][name], states[-1][name])}
    assert len(later & frozen) > 0.8 * len(frozen & before.keys())
    if word in ("mffkd", "crd"):
        assert any(not name.startswith(("model", "student.")) for name in moved), "adapters are trained"


@pytest.mark.parametrize("word", ["baseline", "one", "mjkd", "fsp"])
def test_momentum_starts_at_zero_where_a_backbone_joins_its_head(word):
    made, recipe = build_method(METHODS.parse(word)), replace(RECIPE, optimiser="sgd")
    before = made.method.model.stem.weight.detach().clone()
    list(fit(made.method, make_loader(small_view(), views=made.method.views), recipe, random=made.random))
    assert not torch.equal(before, made.method.model.stem.weight)


def test_the_last_epoch_of_a_phase_trains_everything():
    made = build_method(METHODS.parse("baseline"))
    before = made.method.model.stem.weight.detach().clone()
    list(fit(made.method, make_loader(small_view()), replace(RECIPE, epochs=1)))
    assert not torch.equal(before, made.method.model.stem.weight)


def test_frozen_batch_norm_keeps_its_statistics_and_learns_its_weights():
    made = build_method(METHODS.parse("hinton"))
    layers = [m for m in made.method.model.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [(m.running_mean.clone(), m.running_var.clone(), m.weight.detach().clone()) for m in layers]
    list(fit(made.method, make_loader(small_view()), Recipe(2, 0.01, freeze_bn=True)))
    assert layers
    for layer, (mean, var, weight) in zip(layers, before, strict=True):
        assert torch.equal(layer.running_mean, mean)
        assert torch.equal(layer.running_var, var)
        assert not torch.equal(layer.weight, weight)


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
@pytest.mark.parametrize("word", ["baseline", "dml", "dive", "fitnet", "crt", "tau_norm", "mean_teacher", "crd"])
def test_a_run_resumes_bit_equal_after_every_epoch(word, optimiser):
    recipe = replace(
        RECIPE,
        optimiser=optimiser,
        accumulate=2,
        ema=0.8,
        clip_grad=0.5,
        backbone_lr=0.3,
        layer_decay=0.9,
        decay_all=False,
    )
    recipe = replace(recipe, weight_decay=0.05, warmup=0.1)

    def train(state=None):
        made = build_method(METHODS.parse(word))
        loader = make_loader(small_view(), 3, views=made.method.views)
        for epoch in fit(made.method, loader, recipe, random=made.random, state=state):
            average = epoch.average()
            weights = {} if average is None else average.state_dict()
            yield (
                reload_state(epoch.state()),
                made.method.state_dict() | {f"average/{n}": w for n, w in weights.items()},
            )

    whole = [(state, {name: copy_of(value) for name, value in final.items()}) for state, final in train()]
    for state, _ in whole[:-1]:
        *_, (_, final) = train(state)
        assert states_equal(final, whole[-1][1])


def copy_of(value):
    return value.clone() if isinstance(value, torch.Tensor) else value
