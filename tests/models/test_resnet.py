"""ResNets: parameters, map sizes and blocks."""

import pytest
import torch

from robustkd.errors import UsageError
from robustkd.models.net import infer_shapes
from robustkd.models.resnet import BasicBlock

# With convolutional and with padded shortcuts, counted from the layer shapes.
COUNTS = {8: (78_042, 75_290), 14: (175_258, 172_506), 20: (272_474, 269_722), 26: (369_690, 366_938)}


@pytest.mark.parametrize("depth", COUNTS)
@pytest.mark.parametrize(("column", "shortcut"), [(0, "conv"), (1, "pad")])
def test_parameter_counts_are_those_of_the_literature(build, depth, column, shortcut):
    net = build(f"resnet{depth}(shortcut={shortcut})")
    assert sum(p.numel() for p in net.parameters()) == COUNTS[depth][column]


@pytest.mark.parametrize(
    ("shape", "sides"),
    [
        ((3, 32, 32), [(32, 32), (32, 32), (16, 16), (8, 8)]),
        ((1, 28, 28), [(28, 28), (28, 28), (14, 14), (7, 7)]),
        ((3, 8, 8), [(8, 8), (8, 8), (4, 4), (2, 2)]),
        ((1, 9, 11), [(9, 11), (9, 11), (5, 6), (3, 3)]),
    ],
)
@pytest.mark.parametrize("shortcut", ["conv", "pad"])
def test_map_sizes_follow_the_image_size(build, shape, sides, shortcut):
    inferred = infer_shapes(build(f"resnet8(shortcut={shortcut})", shape), shape)
    assert inferred.maps == tuple((c, *side) for c, side in zip((16, 16, 32, 64), sides, strict=True))
    assert (inferred.logits, inferred.embedding) == ((10,), (64,))


@pytest.mark.parametrize("shortcut", ["conv", "pad"])
def test_widths_of_the_x4_variant(build, shortcut):
    inferred = infer_shapes(build(f"resnet8x4(shortcut={shortcut})"), (3, 32, 32))
    assert [m[0] for m in inferred.maps] == [32, 64, 128, 256]
    assert inferred.embedding == (256,)


def test_maps_are_outputs_of_a_relu(build):
    net = build("resnet8")
    maps = net(torch.rand(4, 3, 32, 32)).maps
    assert all(m.min() == 0 for m in maps)


def test_a_block_without_a_residual_is_its_shortcut():
    block = BasicBlock(2, 4, 2, "pad").eval()
    torch.nn.init.zeros_(block.bn2.weight)
    x = torch.rand(1, 2, 5, 5)
    y = block(x)
    assert y.shape == (1, 4, 3, 3)
    assert torch.equal(y[:, :2], x[:, :, ::2, ::2])  # zeros are appended to the input's channels, as in BSS
    assert y[:, 2:].abs().max() == 0


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("resnet21", "resnet20"), ("resnet2", "resnet8"), ("resnet116", "resnet110"), ("resnet30x4", "resnet32x4")],
)
def test_an_invalid_depth_is_refused(build, name, nearest):
    with pytest.raises(UsageError, match=f"{name}: the depth must be 6n\\+2 .* the nearest is {nearest}$"):
        build(name)
