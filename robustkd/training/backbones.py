"""The networks inside a method: which of their parts are heads and backbones, and what of them stays as it is for a while."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from torch import nn

from robustkd.method import Method, Phase
from robustkd.models.net import Network


def find_networks(method: nn.Module) -> list[Network]:
    """Return the networks in a method, each once; a network inside another one is a part of that."""
    found: dict[Network, None] = {}
    for child in method.children():
        found |= dict.fromkeys([child] if isinstance(child, Network) else find_networks(child))
    return list(found)


def head_parameters(net: Network) -> list[nn.Parameter]:
    """Return the parameters of a network's head; none where it has no head of its own."""
    return list(net.head.parameters()) if isinstance(getattr(net, "head", None), nn.Module) else []


def backbone_parameters(net: Network) -> list[nn.Parameter]:
    """Return the parameters of a network below its head."""
    head = {id(parameter) for parameter in head_parameters(net)}
    return [parameter for parameter in net.parameters() if id(parameter) not in head]


def find_new_heads(method: Method, phases: Sequence[Phase], index: int) -> list[Network]:
    """Return the networks whose head a phase trains and no earlier phase has trained."""
    earlier = {id(parameter) for phase in phases[:index] for parameter in phase.parameters}
    trained = {id(p) for p in phases[index].parameters if p.requires_grad and id(p) not in earlier}
    heads = {net: head_parameters(net) for net in find_networks(method)}
    return [net for net, head in heads.items() if head and all(id(parameter) in trained for parameter in head)]


@contextmanager
def frozen_backbones(networks: Iterable[Network]) -> Iterator[None]:
    """Compute no gradients of the networks below their heads; on exit, those that were computed before are again."""
    frozen = [p for net in networks for p in backbone_parameters(net) if p.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)


def fix_bn_statistics(networks: Iterable[Network]) -> None:
    """Let the batch norms of networks use their running statistics and leave them as they are, until the next `train()`."""
    for net in networks:
        for module in net.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
