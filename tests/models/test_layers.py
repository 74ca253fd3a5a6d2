"""Shared layers: the cosine head, the choice of heads, convolutions and their initialisation."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from robustkd.errors import UsageError
from robustkd.models.layers import CosineLinear, build_conv, build_head, init_conv_weights


@pytest.mark.parametrize("name", ["resnet8", "torchvision:mobilenet_v2"])
@pytest.mark.parametrize("bf16", [False, True])
def test_the_cosine_head_computes_scaled_cosines(build, name, bf16):
    net = build(name, head="cosine", bf16=bf16).eval()
    logits, embedding, _ = net(torch.rand(2, 3, 32, 32))
    assert isinstance(net.head, CosineLinear)
    for b in range(2):
        for k in range(10):
            cosine = F.cosine_similarity(embedding[b], net.head.weight[k], dim=0)
            assert abs(logits[b, k] - 30 * cosine) < 1e-4


def test_an_unknown_head_is_refused():
    assert type(build_head("linear", 4, 2)) is nn.Linear
    with pytest.raises(UsageError, match=r"no head is called 'cosin' \(did you mean 'cosine'\?\); there are: linear"):
        build_head("cosin", 4, 2)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize(("stride", "side"), [(1, 9), (2, 5)])
def test_convolutions_divide_the_size_by_the_stride_rounding_up(size, stride, side):
    conv = build_conv(2, 4, stride, size=size)
    assert conv.bias is None
    assert conv(torch.rand(1, 2, 9, 9)).shape == (1, 4, side, side)


def test_convolutions_are_initialised_by_fan_out():
    conv = nn.Conv2d(8, 512, 3)
    init_conv_weights(nn.Sequential(conv))
    assert conv.weight.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.05)  # sqrt(2 / fan-out)
