"""Wide residual networks. Zagoruyko, Komodakis: Wide residual networks, BMVC 2016 (arXiv 1605.07146).

Pre-activation blocks, depth 6n + 4, stem 16 and stages 16k, 32k, 64k. In blocks that change the size, the shortcut is a 1x1
convolution without BN, applied to the output of the block's first BN-ReLU. No dropout.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from robustkd.errors import UsageError
from robustkd.models.layers import build_conv, build_head, init_conv_weights
from robustkd.models.net import StagedNetwork
from robustkd.types import Count


class PreActBlock(nn.Module):
    """A pre-activation residual block: BN-ReLU-conv-BN-ReLU-conv, plus the shortcut, without a final activation."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(in_channels), build_conv(in_channels, out_channels, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(out_channels), build_conv(out_channels, out_channels)
        is_identity = stride == 1 and in_channels == out_channels
        self.shortcut = None if is_identity else build_conv(in_channels, out_channels, stride, size=1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(x))
        residual: Tensor = self.conv2(F.relu(self.bn2(self.conv1(y))))
        return residual + (x if self.shortcut is None else self.shortcut(y))


def wrn(channels: int, classes: int, *, depth: int, width: Count) -> StagedNetwork:
    """Build a WRN of the given depth and widening factor. Feature maps are block outputs, before the next BN-ReLU.

    Raises:
        UsageError: the depth is not 6n + 4.
    """
    blocks, remainder = divmod(depth - 4, 6)
    if remainder or blocks < 1:
        nearest = 6 * max(round((depth - 4) / 6), 1) + 4
        raise UsageError(
            f"wrn_{depth}_{width}: the depth must be 6n+4 (10, 16, 22, 28, 34, 40, ...); "
            f"the nearest is wrn_{nearest}_{width}"
        )
    in_channels, stages = 16, []
    for out_channels, stride in ((16 * width, 1), (32 * width, 2), (64 * width, 2)):
        first = PreActBlock(in_channels, out_channels, stride)
        stages.append(nn.Sequential(first, *(PreActBlock(out_channels, out_channels, 1) for _ in range(blocks - 1))))
        in_channels = out_channels
    neck = nn.Sequential(nn.BatchNorm2d(in_channels), nn.ReLU())
    net = StagedNetwork(build_conv(channels, 16), stages, build_head("linear", in_channels, classes), neck=neck)
    init_conv_weights(net)
    nn.init.zeros_(net.head.bias)
    return net
