"""Files of networks and of unfinished runs. All load without unpickling code.

A network is saved with its model card: the name, shape, classes, normalisation and head that rebuild it. The file that its
first weights were from is not needed again.
"""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn

from robustkd.atomic import write_atomically
from robustkd.data.augment import crop_centre
from robustkd.errors import UsageError, as_one_line
from robustkd.models import MODELS
from robustkd.models.build import build_network
from robustkd.models.model_card import parse_model_card
from robustkd.models.net import Network
from robustkd.models.weight_files import describe_differences
from robustkd.models.weight_sources import without_weights


def save_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Save a dictionary of tensors and plain values atomically."""
    write_atomically(path, lambda file: torch.save(dict(content), file))


def load_checkpoint(path: Path | IO[bytes]) -> dict[str, Any]:
    """Load what `save_checkpoint` saved, onto the CPU.

    Raises:
        UsageError: the file does not exist, is damaged, or robustkd did not save it.
    """
    if isinstance(path, Path) and path.exists() and not path.is_file():  # a device has no end
        raise UsageError(f"{path}: this is {'a folder, not a file' if path.is_dir() else 'not a regular file'}")
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not compare the checksums
            damaged = archive.testzip()
        if damaged is not None:
            raise UsageError(f"{path}: this file is damaged: the checksum of '{damaged}' in it does not match")
        if not isinstance(path, Path):
            path.seek(0)
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except UsageError:
        raise
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such file") from None
    except Exception as error:  # the exception's type depends on what else the file contains
        raise UsageError(
            f"{path}: this file was not saved by robustkd, or is damaged ({type(error).__name__})"
        ) from None
    if not isinstance(content, dict):
        raise UsageError(f"{path}: this file was not saved by robustkd: it contains a {type(content).__name__}")
    return content


def save_net(path: Path, weights: Mapping[str, Tensor], card: Mapping[str, Any]) -> None:
    """Save a network's weights with its model card."""
    save_checkpoint(path, {"card": json.dumps(card), "weights": dict(weights)})


def load_net(path: Path | IO[bytes], bf16: bool = False) -> tuple[Network, dict[str, Any]]:
    """Load a saved network, in evaluation mode on the CPU, and its model card.

    Raises:
        UsageError: the file does not exist, is damaged, or contains no network that can be built.
    """
    content = load_checkpoint(path)
    if not {"card", "weights"} <= content.keys():
        raise UsageError(f"{path}: this file contains no network")
    try:
        net, card = _build_net(content["card"], content["weights"], bf16)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = as_one_line(str(error), 120)
        raise UsageError(
            f"{path}: the network in this file cannot be built ({type(error).__name__}: {reason})"
        ) from None
    return net.eval(), card


def load_usable_net(path: Path | IO[bytes], bf16: bool = False) -> tuple[Network, dict[str, Any]]:
    """Load a saved network for predictions, or to train others from it.

    Raises:
        UsageError: as by `load_net`, or its weights are not finite.
    """
    net, card = load_net(path, bf16)
    for name, tensor in net.state_dict().items():
        if not tensor.isfinite().all():
            raise UsageError(f"{path}: the weights '{name}' of this network are not finite, so it predicts nothing")
    return net, card


def _build_net(text: object, weights: Mapping[str, Tensor], bf16: bool) -> tuple[Network, dict[str, Any]]:
    """Build the network that a model card describes, with its weights; also return the card."""
    card = parse_model_card(text)
    try:
        spec = MODELS.parse(card["model"])
    except UsageError:
        raise UsageError(
            f"it holds a '{card['model']}', which is no known network; if a file of yours defines it, give that with --plug"
        ) from None
    net = build_network(
        without_weights(spec),  # whose file or server may be out of reach
        shape=tuple(card["shape"]),
        classes=len(card["classes"]),
        mean=card["mean"],
        std=card["std"],
        # Earlier cards have another `image_size`, and no `interpolation`.
        image_size=card["image_size"] if "interpolation" in card else None,
        interpolation=card.get("interpolation", "bilinear"),
        head=card["head"],
        bf16=bf16,
        seed=0,
    )
    stored, own = (
        {name: value for name, value in state.items() if isinstance(value, Tensor)}
        for state in (weights, net.state_dict())
    )
    if differences := describe_differences(stored, own):
        raise UsageError(f"its weights are not those of a {card['model']}: {differences}")
    net.load_state_dict(weights)
    return net, card


def stored_shape(card: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return the shape (C, H, W) to which images are scaled for a network; it sees their centre, of its card's `shape`.

    >>> stored_shape({"shape": (3, 224, 224), "crop_share": 0.875}), stored_shape({"shape": (1, 8, 8)})
    ((3, 256, 256), (1, 8, 8))
    """
    channels, height, width = card["shape"]
    share = card.get("crop_share", 1.0)
    return channels, round(height / share), round(width / share)


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
    """A network for use outside this package: images (B, H, W, C) uint8 in, probabilities (B, K) out.

    Args:
        shape: (C, H, W) of the images that the network sees: the centre of those given, which may be larger.
    """

    def __init__(self, net: Network, shape: Sequence[int]) -> None:
        super().__init__()
        self.net = net
        channels, height, width = shape
        self.shape = channels, height, width

    def forward(self, images: Tensor) -> Tensor:
        centre = crop_centre(images, self.shape)
        return self.net(centre.permute(0, 3, 1, 2).float() / 255).logits.softmax(dim=1)
