"""Optimisers of a phase, with a learning rate and weight decay for each part of its networks.

The head of a network, and all that a method trains other than networks, such as adapters, has the full learning rate.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from robustkd.errors import UsageError
from robustkd.method import Method, Phase, backward_and_step
from robustkd.models.layer_numbers import number_layers
from robustkd.models.net import Network
from robustkd.training.backbones import find_networks, head_parameters
from robustkd.training.recipe import Recipe

BETA2 = 0.999  # of AdamW


def build_optimiser(method: Method, phase: Phase, recipe: Recipe) -> Optimizer:
    """Build the optimiser of a phase, over the parameters that the phase trains."""
    groups = group_parameters(find_networks(method), phase.parameters, recipe)
    if recipe.optimiser == "adamw":
        betas = recipe.momentum, BETA2
        return torch.optim.AdamW(groups, lr=recipe.lr, betas=betas, weight_decay=recipe.weight_decay, fused=True)
    optimiser = torch.optim.SGD(
        groups,
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov and recipe.momentum > 0,
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    if recipe.head_first and recipe.momentum:
        # The fused update cannot mix parameters that have a momentum with others, which were frozen until then.
        for parameter in phase.parameters:
            optimiser.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimiser


def set_learning_rate(optimiser: Optimizer, rate: float) -> None:
    """Set the learning rate, which each group multiplies by its own factor."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)  # optimisers saved by earlier versions have no factors


def group_parameters(
    networks: Sequence[Network], parameters: Sequence[nn.Parameter], recipe: Recipe
) -> list[dict[str, Any]]:
    """Divide parameters into groups of one learning rate and one weight decay, in the order of their first parameters.

    Returns:
        Groups for an optimiser, each with `lr_scale`, the factor of its learning rate.
    """
    scales: dict[int, float] = {}
    for net in networks:
        scales |= learning_rate_scales(net, recipe)
    undecayed = set() if recipe.decay_all else {i for net in networks for i in _without_decay(net)}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in parameters:
        decayed = recipe.decay_all or (parameter.ndim > 1 and id(parameter) not in undecayed)
        key = scales.get(id(parameter), 1.0), recipe.weight_decay if decayed else 0.0
        groups.setdefault(key, []).append(parameter)
    return [{"params": p, "lr_scale": scale, "weight_decay": decay} for (scale, decay), p in groups.items()]


def learning_rate_scales(net: Network, recipe: Recipe) -> Mapping[int, float]:
    """Return the factors of the learning rate of a network's parameters below its head, by their ids.

    With layer decay, that of a layer n layers below the head is the n-th power of it (BEiT, arXiv 2106.08254).
    """
    if recipe.backbone_lr == recipe.layer_decay == 1:
        return {}
    head = {id(parameter) for parameter in head_parameters(net)}
    below = {name: p for name, p in net.named_parameters() if id(p) not in head}
    if recipe.layer_decay == 1:
        return {id(parameter): recipe.backbone_lr for parameter in below.values()}
    layers = number_layers(net)
    top = max(layers.values())
    return {id(p): recipe.backbone_lr * recipe.layer_decay ** (top - layers[name]) for name, p in below.items()}


def _without_decay(net: Network) -> list[int]:
    """Return the ids of parameters that a timm network says not to decay, such as position embeddings."""
    model: Any = getattr(net, "model", None)
    if not hasattr(model, "no_weight_decay"):
        return []
    names = {*model.no_weight_decay()}
    return [id(parameter) for name, parameter in model.named_parameters() if name in names]


def check_recipe(name: str, method: Method, recipe: Recipe) -> None:
    """Refuse a recipe that a method or its networks cannot be trained with.

    Args:
        name: of the method, as typed.

    Raises:
        UsageError: the method's own update is not that of the recipe, or a network has no layers.
    """
    if any(phase.update is not backward_and_step for phase in method.phases()):
        options = {"--optimiser adamw": recipe.optimiser == "adamw", "--clip-grad": recipe.clip_grad > 0}
        refused = [option for option, used in {**options, "--accumulate": recipe.accumulate > 1}.items() if used]
        if refused:
            raise UsageError(
                f"method '{name}' has an update of its own, which is not defined with {' and '.join(refused)}: use"
                " --optimiser sgd --clip-grad 0 --accumulate 1"
            )
    if recipe.layer_decay != 1:
        for net in find_networks(method):
            if len({*number_layers(net).values()}) < 3:  # the head and two below it
                raise UsageError(
                    f"--layer-decay {recipe.layer_decay:g}: a {type(getattr(net, 'model', net)).__name__} has no layers that"
                    " can be told apart; use --backbone-lr"
                )
