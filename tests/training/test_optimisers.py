"""Optimisers: which parameters have which learning rate and which weight decay, and what is refused."""

import pytest
import torch
from torch import nn

from robustkd.errors import UsageError
from robustkd.method import Method, Phase
from robustkd.methods import METHODS
from robustkd.models import MODELS
from robustkd.models.build import build_network
from robustkd.training.optimisers import build_optimiser, check_recipe, group_parameters, set_learning_rate
from robustkd.training.recipe import Recipe
from tests.helpers import build_method, make_network


class Bare(Method):
    """A method that trains one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))


def timm_network(name: str, side: int = 32):
    return build_network(
        MODELS.parse(f"timm:{name}"), shape=(3, side, side), classes=3, mean=[0.5] * 3, std=[1] * 3, seed=0
    )


def scales(net, recipe: Recipe) -> dict[str, tuple[float, float]]:
    """Return the factor of the rate and the weight decay of each parameter by name."""
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    groups = group_parameters([net], list(net.parameters()), recipe)
    return {names[id(p)]: (group["lr_scale"], group["weight_decay"]) for group in groups for p in group["params"]}


def test_the_optimiser_has_the_phases_parameters_and_the_recipes_options():
    method = Bare()
    phase = Phase("any", lambda batch: [], [method.weight])
    (group,) = build_optimiser(method, phase, Recipe(lr=0.3, momentum=0.8, weight_decay=0.01)).param_groups
    assert group["params"][0] is method.weight
    assert [group[key] for key in ("lr", "momentum", "weight_decay", "nesterov")] == [0.3, 0.8, 0.01, True]
    (group,) = build_optimiser(method, phase, Recipe(momentum=0)).param_groups
    assert not group["nesterov"], "Nesterov's method is not defined without momentum"


def test_adamw_has_the_momentum_as_its_first_beta():
    method = Bare()
    phase = Phase("any", lambda batch: [], [method.weight])
    optimiser = build_optimiser(method, phase, Recipe(optimiser="adamw", lr=1e-3, momentum=0.8, weight_decay=0.05))
    assert isinstance(optimiser, torch.optim.AdamW)
    (group,) = optimiser.param_groups
    assert (group["betas"], group["weight_decay"]) == ((0.8, 0.999), 0.05)


@pytest.mark.parametrize("word", METHODS)
def test_a_recipe_from_scratch_has_one_group_in_the_order_of_the_phase(word):
    method = build_method(METHODS.parse(word)).method
    for phase in method.phases():
        (group,) = build_optimiser(method, phase, Recipe()).param_groups
        assert [id(p) for p in group["params"]] == [id(p) for p in phase.parameters]


@pytest.mark.parametrize("word", ["dml", "one", "hinton", "dive", "mffkd", "prune", "mean_teacher"])
def test_backbones_have_their_own_rate_and_all_else_the_full_one(word):
    method = build_method(METHODS.parse(word)).method
    heads = {id(p) for name, p in method.named_parameters() if ".head." in name}
    bodies = {id(p) for name, p in method.named_parameters() if {"stem", "stages", "neck"} & {*name.split(".")}}
    if word in ("mffkd",):
        bodies -= {id(p) for name, p in method.named_parameters() if "fusion" in name}
    assert heads
    assert bodies
    for phase in method.phases():
        for group in build_optimiser(method, phase, Recipe(backbone_lr=0.1)).param_groups:
            assert {id(p) in bodies for p in group["params"]} == {group["lr_scale"] == 0.1}
            assert group["lr_scale"] in (0.1, 1.0)


def test_the_rate_of_each_layer_by_hand():
    # wrn_10_1: stem, three stages (the neck with the last) and the head: 1/16, 1/8, 1/4, 1/2 and 1, below the head once halved
    found = scales(make_network("wrn_10_1"), Recipe(layer_decay=0.5, backbone_lr=0.5))
    by_part = {}
    for name, (scale, _) in found.items():
        part, _, rest = name.partition(".")
        by_part.setdefault(f"{part}{rest[0]}" if part == "stages" else part, set()).add(scale)
    by_hand = {"stem": 1 / 32, "stages0": 1 / 16, "stages1": 1 / 8, "stages2": 1 / 4, "neck": 1 / 4, "head": 1}
    assert by_part == {part: {scale} for part, scale in by_hand.items()}


@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet", "test_resnet"])
def test_the_rates_of_a_timm_network_are_those_of_timms_own_groups(name):
    from timm.optim import param_groups_layer_decay

    net = timm_network(name, 160 if name == "test_vit" else 32)
    theirs = {}
    excluded = getattr(net.model, "no_weight_decay", set)()
    for group in param_groups_layer_decay(net.model, 0.05, no_weight_decay_list=excluded, layer_decay=0.7):
        theirs |= {id(p): (group["lr_scale"], group["weight_decay"]) for p in group["params"]}
    ours = group_parameters([net], list(net.parameters()), Recipe(layer_decay=0.7, weight_decay=0.05, decay_all=False))
    found = {id(p): (group["lr_scale"], group["weight_decay"]) for group in ours for p in group["params"]}
    assert found.keys() == theirs.keys()
    assert all(found[key] == pytest.approx(theirs[key]) for key in theirs)
    assert len({scale for scale, _ in found.values()}) > 4


def test_norms_and_biases_are_not_decayed():
    decayed = {name for name, (_, decay) in scales(make_network("resnet8"), Recipe(decay_all=False)).items() if decay}
    assert decayed == {
        name for name, p in make_network("resnet8").named_parameters() if p.ndim > 1 and name.endswith("weight")
    }
    assert "head.weight" in decayed
    vit = scales(timm_network("test_vit", 160), Recipe(decay_all=False))
    assert vit["model.pos_embed"][1] == vit["model.cls_token"][1] == 0
    assert vit["model.head.weight"][1] == 5e-4


def test_the_rate_is_multiplied_by_each_groups_factor():
    method = build_method(METHODS.parse("baseline")).method
    (phase,) = method.phases()
    optimiser = build_optimiser(method, phase, Recipe(backbone_lr=0.25))
    set_learning_rate(optimiser, 0.4)
    assert sorted(group["lr"] for group in optimiser.param_groups) == pytest.approx([0.1, 0.4])


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (Recipe(optimiser="adamw"), "--optimiser adamw: use"),
        (Recipe(clip_grad=1), "--clip-grad: use"),
        (Recipe(accumulate=2, optimiser="adamw"), "--optimiser adamw and --accumulate: use"),
    ],
)
def test_a_method_with_its_own_update_is_refused_what_that_cannot_do(recipe, words):
    with pytest.raises(UsageError, match=f"method 'mjkd' has an update of its own, which is not defined with {words}"):
        check_recipe("mjkd", build_method(METHODS.parse("mjkd")).method, recipe)
    check_recipe("mjkd", build_method(METHODS.parse("mjkd")).method, Recipe(backbone_lr=0.1, decay_all=False))
    check_recipe("dml", build_method(METHODS.parse("dml")).method, recipe)


def test_layer_decay_needs_layers():
    from tests.training.test_updates import Peers

    check_recipe("peers", Peers(True), Recipe())
    with pytest.raises(UsageError, match=r"--layer-decay 0.5: a Linear has no layers that can be told apart"):
        check_recipe("peers", Peers(True), Recipe(layer_decay=0.5))
