"""Wide ResNets: parameters, map sizes and blocks."""

import pytest
import torch

from robustkd.errors import UsageError
from robustkd.models.net import infer_shapes
from robustkd.models.wrn import PreActBlock

COUNTS = {"wrn_10_2": 303_706, "wrn_16_2": 691_674, "wrn_28_2": 1_467_610, "wrn_40_2": 2_243_546}


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_are_those_of_the_literature(build, name):
    assert sum(p.numel() for p in build(name).parameters()) == COUNTS[name]


@pytest.mark.parametrize(
    ("shape", "sides"),
    [
        ((3, 32, 32), [(32, 32), (32, 32), (16, 16), (8, 8)]),
        ((1, 28, 28), [(28, 28), (28, 28), (14, 14), (7, 7)]),
        ((3, 8, 8), [(8, 8), (8, 8), (4, 4), (2, 2)]),
        ((1, 9, 11), [(9, 11), (9, 11), (5, 6), (3, 3)]),
    ],
)
@pytest.mark.parametrize("width", [1, 2])
def test_map_sizes_follow_the_image_size(build, shape, sides, width):
    inferred = infer_shapes(build(f"wrn_10_{width}", shape), shape)
    channels = (16, 16 * width, 32 * width, 64 * width)
    assert inferred.maps == tuple((c, *side) for c, side in zip(channels, sides, strict=True))
    assert (inferred.logits, inferred.embedding) == ((10,), (64 * width,))


def test_maps_are_block_outputs_before_the_activation(build):
    output = build("wrn_10_1")(torch.rand(4, 3, 32, 32))
    assert all(m.min() < 0 for m in output.maps)
    assert output.embedding.min() >= 0  # after the neck's ReLU


def test_a_block_without_a_residual_is_its_shortcut():
    x = torch.randn(2, 4, 6, 6)
    for block, expected in (
        (PreActBlock(4, 4, 1).eval(), lambda block: x),
        (PreActBlock(4, 8, 2).eval(), lambda block: block.shortcut(torch.relu(block.bn1(x)))),
    ):
        torch.nn.init.zeros_(block.conv2.weight)
        assert torch.equal(block(x), expected(block))


@pytest.mark.parametrize(("name", "nearest"), [("wrn_15_2", "wrn_16_2"), ("wrn_4_1", "wrn_10_1")])
def test_an_invalid_depth_is_refused(build, name, nearest):
    with pytest.raises(UsageError, match=f"{name}: the depth must be 6n\\+4 .* the nearest is {nearest}$"):
        build(name)


def test_a_width_of_zero_is_refused(build):
    with pytest.raises(UsageError, match="width is 0 but should be greater than or equal to 1"):
        build("wrn_10_0")
