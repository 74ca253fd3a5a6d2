"""Layers that networks share, and their initialisation."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustkd.errors import UsageError, did_you_mean

COSINE_SCALE = 30.0  # of the logits of a cosine head


class CosineLinear(nn.Linear):
    """A scaled cosine classifier: logits = scale * cos(embedding, class weight), (B, D) -> (B, K).

    Without a bias and with normalised weights, no class is favoured by the size of its weights. Computes in float32 even
    inside autocast.
    """

    def __init__(self, in_features: int, classes: int, scale: float = COSINE_SCALE) -> None:
        super().__init__(in_features, classes, bias=False)
        self.scale = scale

    def forward(self, embedding: Tensor) -> Tensor:
        with torch.autocast(embedding.device.type, enabled=False):
            x = F.normalize(embedding.to(self.weight.dtype))
            return self.scale * F.linear(x, F.normalize(self.weight))


HEADS: dict[str, Callable[[int, int], nn.Linear]] = {"linear": nn.Linear, "cosine": CosineLinear}


def build_head(kind: str, in_features: int, classes: int) -> nn.Linear:
    """Build a classification head, 'linear' or 'cosine'.

    Raises:
        UsageError: there is no such kind.
    """
    if kind not in HEADS:
        raise UsageError(f"no head is called '{kind}'{did_you_mean(kind, HEADS)}; there are: {', '.join(HEADS)}")
    return HEADS[kind](in_features, classes)


def build_conv(in_channels: int, out_channels: int, stride: int = 1, size: int = 3) -> nn.Conv2d:
    """Build a convolution without bias that divides height and width by its stride, rounding up."""
    return nn.Conv2d(in_channels, out_channels, size, stride, padding=size // 2, bias=False)


def init_conv_weights(net: nn.Module) -> None:
    """Initialise all convolutions as He et al. (2015), by fan-out: the usual choice for CIFAR ResNets and WRNs."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
