"""Wide residual networks. Zagoruyko, Komodakis: Wide residual networks, BMVC 2016 (arXiv 1605.07146).

Pre-activation blocks, depth 6n + 4, stem 16 and stages 16k, 32k, 64k. The shortcut that changes the size is a 1x1
convolution without BN, and reads what the block's first BN-ReLU gives. No dropout.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from robustkd.errors import UsageError
from robustkd.models.layers import build_conv, build_head, init_conv_weights
from robustkd.models.net import StagedNetwork
from robustkd.types import Count


class PreActBlock(nn.Module):
    """BN-ReLU-conv-BN-ReLU-conv, plus the shortcut: a raw sum."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inside), build_conv(inside, outside, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(outside), build_conv(outside, outside)
        same = stride == 1 and inside == outside
        self.shortcut = None if same else build_conv(inside, outside, stride, size=1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(x))
        rest: Tensor = self.conv2(F.relu(self.bn2(self.conv1(y))))
        return rest + (x if self.shortcut is None else self.shortcut(y))


def wrn(channels: int, classes: int, *, depth: int, width: Count) -> StagedNetwork:
    """A WRN of the given depth and widening factor; its maps are raw sums, before the next BN-ReLU."""
    blocks, rest = divmod(depth - 4, 6)
    if rest or blocks < 1:
        close = 6 * max(round((depth - 4) / 6), 1) + 4
        raise UsageError(
            f"wrn_{depth}_{width}: the depth must be 6n+4 (10, 16, 22, 28, 34, 40, ...); "
            f"the nearest is wrn_{close}_{width}"
        )
    inside, stages = 16, []
    for outside, stride in ((16 * width, 1), (32 * width, 2), (64 * width, 2)):
        first = PreActBlock(inside, outside, stride)
        stages.append(nn.Sequential(first, *(PreActBlock(outside, outside, 1) for _ in range(blocks - 1))))
        inside = outside
    neck = nn.Sequential(nn.BatchNorm2d(inside), nn.ReLU())
    net = StagedNetwork(build_conv(channels, 16), stages, build_head("linear", inside, classes), neck=neck)
    init_conv_weights(net)
    nn.init.zeros_(net.head.bias)
    return net
