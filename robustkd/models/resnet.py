"""ResNets for small images. He, Zhang, Ren, Sun: Deep residual learning for image recognition, CVPR 2016.

Three stages of n blocks, depth 6n + 2. Widths as in RepDistiller: stem 16 and stages 16, 32, 64; or, four times as
wide, stem 32 and stages 64, 128, 256. Where a block changes the size, the shortcut is a 1x1 convolution with BN
(RepDistiller, ONE) or zero padding without parameters (BSS).
"""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from robustkd.errors import UsageError
from robustkd.models.layers import build_conv, build_head, init_conv_weights
from robustkd.models.net import StagedNetwork
from robustkd.types import Count

Shortcut = Literal["conv", "pad"]


class PadShortcut(nn.Module):
    """Every stride-th pixel, and channels of zeros behind the given ones."""

    def __init__(self, stride: int, channels: int) -> None:
        super().__init__()
        self.stride, self.channels = stride, channels

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.channels))


class BasicBlock(nn.Module):
    """conv-BN-ReLU-conv-BN, plus the shortcut, then ReLU."""

    def __init__(self, inside: int, outside: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1, self.bn1 = build_conv(inside, outside, stride), nn.BatchNorm2d(outside)
        self.conv2, self.bn2 = build_conv(outside, outside), nn.BatchNorm2d(outside)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inside != outside:
            if shortcut == "pad":
                self.shortcut = PadShortcut(stride, outside - inside)
            else:
                self.shortcut = nn.Sequential(build_conv(inside, outside, stride, size=1), nn.BatchNorm2d(outside))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


def resnet(channels: int, classes: int, *, depth: int, width: Count = 1, shortcut: Shortcut = "conv") -> StagedNetwork:
    """A ResNet of the given depth; its maps are taken after the last ReLU of each stage."""
    blocks, rest = divmod(depth - 2, 6)
    if rest or not 1 <= blocks <= 18:
        suffix = "" if width == 1 else f"x{width}"
        close = 6 * min(max(round((depth - 2) / 6), 1), 18) + 2
        raise UsageError(
            f"resnet{depth}{suffix}: the depth must be 6n+2 (8, 14, ..., 110); the nearest is resnet{close}{suffix}"
        )
    inside = 16 * min(width, 2)
    stem = nn.Sequential(build_conv(channels, inside), nn.BatchNorm2d(inside), nn.ReLU())
    stages = []
    for outside, stride in ((16 * width, 1), (32 * width, 2), (64 * width, 2)):
        first = BasicBlock(inside, outside, stride, shortcut)
        stages.append(nn.Sequential(first, *(BasicBlock(outside, outside, 1, shortcut) for _ in range(blocks - 1))))
        inside = outside
    net = StagedNetwork(stem, stages, build_head("linear", inside, classes))
    init_conv_weights(net)
    return net
