"""Files of networks and of unfinished runs. All load without unpickling code.

A network is saved with its model card: the name, shape, classes, normalisation and head that rebuild it.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn

from robustkd.atomic import write_atomically
from robustkd.errors import UsageError
from robustkd.models import MODELS
from robustkd.models.build import build_network
from robustkd.models.net import Network


def save_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Save a dictionary of tensors and plain values atomically."""
    write_atomically(path, lambda file: torch.save(dict(content), file))


def load_checkpoint(path: Path | IO[bytes]) -> dict[str, Any]:
    """Load what `save_checkpoint` saved, onto the CPU.

    Raises:
        UsageError: the file does not exist or robustkd did not save it.
    """
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such file") from None
    except Exception as error:  # the exception's type depends on what else the file contains
        raise UsageError(f"{path}: this file was not saved by robustkd ({type(error).__name__})") from None
    return content


def save_net(path: Path, weights: Mapping[str, Tensor], card: Mapping[str, Any]) -> None:
    """Save a network's weights with its model card."""
    save_checkpoint(path, {"card": json.dumps(card), "weights": dict(weights)})


def load_net(path: Path | IO[bytes], bf16: bool = False) -> tuple[Network, dict[str, Any]]:
    """Load a saved network, in evaluation mode on the CPU, and its model card.

    Raises:
        UsageError: the file does not exist or contains no network.
    """
    content = load_checkpoint(path)
    if not {"card", "weights"} <= content.keys():
        raise UsageError(f"{path}: this file contains no net")
    card = json.loads(content["card"])
    net = build_network(
        MODELS.parse(card["model"]),
        shape=tuple(card["shape"]),
        classes=len(card["classes"]),
        mean=card["mean"],
        std=card["std"],
        head=card["head"],
        bf16=bf16,
        seed=0,
    )
    net.load_state_dict(content["weights"])
    return net.eval(), card


def net_to_bytes(net: Network, card: Mapping[str, Any]) -> bytes:
    """Return a network, on the CPU, and its model card as the bytes of a file that `load_net` reads."""
    content = io.BytesIO()
    weights = {name: tensor.cpu() for name, tensor in net.state_dict().items()}
    torch.save({"card": json.dumps(card), "weights": weights}, content)
    return content.getvalue()


def net_from_bytes(content: bytes) -> Network:
    """Return the network that `net_to_bytes` encoded, in evaluation mode on the CPU."""
    return load_net(io.BytesIO(content))[0]


class ServingModel(nn.Module):
    """A network for use outside this package: images (B, H, W, C) uint8 in, probabilities (B, K) out."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images.permute(0, 3, 1, 2).float() / 255).logits.softmax(dim=1)
