"""The layers of a network from the images to the head, for learning rates that decrease with the distance from the head."""

import re
from typing import Any

from robustkd.models.external import ExternalNetwork
from robustkd.models.net import Network, StagedNetwork

# The part of a parameter's name up to the first component that ends in a number, as in `features.3`; else the first one.
BLOCK = re.compile(r"(?:[^.]+\.)*?[^.]*\d(?=\.)|[^.]+")


def number_layers(net: Network) -> dict[str, int]:
    """Return the layer of each parameter by name, 0 for the one nearest to the images; the head is above all others.

    The layers of a network of this package are its stem and its stages; those of a timm network are its blocks, as timm groups
    them; those of others are the modules that its parameters' names number, in the order of their registration.
    """
    names = [name for name, _ in net.named_parameters()]
    head = {id(parameter) for parameter in net.head.parameters()}
    in_head = {name for name, parameter in net.named_parameters() if id(parameter) in head}
    if isinstance(net, StagedNetwork):
        layers = {name: _stage(name, len(net.stages)) for name in names}
    elif isinstance(net, ExternalNetwork) and hasattr(net.model, "group_matcher"):
        from timm.models import group_parameters

        matcher: Any = net.model.group_matcher
        groups = group_parameters(net.model, matcher(coarse=False), reverse=True)
        layers = {f"model.{name}": int(number) for name, number in groups.items()}
    else:
        blocks: dict[str, int] = {}
        layers = {name: blocks.setdefault(_block(name), len(blocks)) for name in names if name not in in_head}
    top = max((layers[name] for name in layers if name not in in_head), default=-1) + 1
    return {name: top if name in in_head else layers.get(name, top) for name in names}


def _stage(name: str, stages: int) -> int:
    """Return the layer of a parameter of a StagedNetwork: the neck belongs to the last stage."""
    part, _, rest = name.partition(".")
    return int(rest.partition(".")[0]) + 1 if part == "stages" else {"neck": stages}.get(part, 0)


def _block(name: str) -> str:
    """Return the part of a parameter's name that stands for its layer.

    >>> [_block(name) for name in ("model.layer1.0.conv1.weight", "model.features.3.0.weight", "model.bn.weight")]
    ['layer1', 'features.3', 'bn']
    """
    match = BLOCK.match(name.removeprefix("model."))
    return match[0] if match else name
