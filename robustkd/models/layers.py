"""The parts that networks share."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustkd.errors import UsageError, did_you_mean


class CosineLinear(nn.Linear):
    """A scaled cosine classifier: logits = scale * cos(embedding, weight of the class). No bias, so no class is louder.

    In float32 even inside autocast: (B, D) -> (B, K).
    """

    def __init__(self, width: int, classes: int, scale: float = 30.0) -> None:
        super().__init__(width, classes, bias=False)
        self.scale = scale

    def forward(self, embedding: Tensor) -> Tensor:
        with torch.autocast(embedding.device.type, enabled=False):
            x = F.normalize(embedding.to(self.weight.dtype))
            return self.scale * F.linear(x, F.normalize(self.weight))


HEADS: dict[str, Callable[[int, int], nn.Linear]] = {"linear": nn.Linear, "cosine": CosineLinear}


def build_head(kind: str, width: int, classes: int) -> nn.Linear:
    """What turns an embedding into logits: 'linear' or 'cosine'."""
    if kind not in HEADS:
        raise UsageError(f"no head is called '{kind}'{did_you_mean(kind, HEADS)}; there are: {', '.join(HEADS)}")
    return HEADS[kind](width, classes)


def build_conv(inside: int, outside: int, stride: int = 1, size: int = 3) -> nn.Conv2d:
    """A convolution without bias that divides height and width by its stride, rounding up."""
    return nn.Conv2d(inside, outside, size, stride, padding=size // 2, bias=False)


def init_conv_weights(net: nn.Module) -> None:
    """He et al. (2015), by fan out: what both families of CIFAR networks start from."""
    for part in net.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
