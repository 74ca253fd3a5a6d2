"""ResNets for small images. He, Zhang, Ren, Sun: Deep residual learning for image recognition, CVPR 2016.

Three stages of n blocks, depth 6n + 2. Widths are those of RepDistiller: stem 16 and stages 16, 32, 64; or, at four times
the width, stem 32 and stages 64, 128, 256. In blocks that change the size, the shortcut is a 1x1 convolution with BN (as in
RepDistiller and ONE) or parameter-free zero padding (as in BSS).
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
    """A parameter-free shortcut: subsample by the stride and append channels of zeros."""

    def __init__(self, stride: int, extra_channels: int) -> None:
        super().__init__()
        self.stride, self.extra_channels = stride, extra_channels

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra_channels))


class BasicBlock(nn.Module):
    """A residual block: conv-BN-ReLU-conv-BN, plus the shortcut, then ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1, self.bn1 = build_conv(in_channels, out_channels, stride), nn.BatchNorm2d(out_channels)
        self.conv2, self.bn2 = build_conv(out_channels, out_channels), nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            if shortcut == "pad":
                self.shortcut = PadShortcut(stride, out_channels - in_channels)
            else:
                self.shortcut = nn.Sequential(
                    build_conv(in_channels, out_channels, stride, size=1), nn.BatchNorm2d(out_channels)
                )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


def resnet(channels: int, classes: int, *, depth: int, width: Count = 1, shortcut: Shortcut = "conv") -> StagedNetwork:
    """Build a ResNet of the given depth. Feature maps are the outputs of the last ReLU of each stage.

    Raises:
        UsageError: the depth is not 6n + 2 with n from 1 to 18.
    """
    blocks, remainder = divmod(depth - 2, 6)
    if remainder or not 1 <= blocks <= 18:
        suffix = "" if width == 1 else f"x{width}"
        nearest = 6 * min(max(round((depth - 2) / 6), 1), 18) + 2
        raise UsageError(
            f"resnet{depth}{suffix}: the depth must be 6n+2 (8, 14, ..., 110); the nearest is resnet{nearest}{suffix}"
        )
    in_channels = 16 * min(width, 2)
    stem = nn.Sequential(build_conv(channels, in_channels), nn.BatchNorm2d(in_channels), nn.ReLU())
    stages = []
    for out_channels, stride in ((16 * width, 1), (32 * width, 2), (64 * width, 2)):
        first = BasicBlock(in_channels, out_channels, stride, shortcut)
        stages.append(
            nn.Sequential(first, *(BasicBlock(out_channels, out_channels, 1, shortcut) for _ in range(blocks - 1)))
        )
        in_channels = out_channels
    net = StagedNetwork(stem, stages, build_head("linear", in_channels, classes))
    init_conv_weights(net)
    return net
