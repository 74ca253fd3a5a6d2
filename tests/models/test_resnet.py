import pytest
import torch

from robustkd.errors import UsageError
from robustkd.models.net import infer_shapes
from robustkd.models.resnet import BasicBlock

# methods.md 0.1, counted there from the layer shapes
COUNTS = {8: (78_042, 75_290), 14: (175_258, 172_506), 20: (272_474, 269_722), 26: (369_690, 366_938)}


@pytest.mark.parametrize("depth", COUNTS)
@pytest.mark.parametrize(("column", "shortcut"), [(0, "conv"), (1, "pad")])
def test_parameters_as_counted_in_the_literature(build, depth, column, shortcut):
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
def test_maps_at_every_image_size(build, shape, sides, shortcut):
    found = infer_shapes(build(f"resnet8(shortcut={shortcut})", shape), shape)
    assert found.maps == tuple((c, *side) for c, side in zip((16, 16, 32, 64), sides, strict=True))
    assert (found.logits, found.embedding) == ((10,), (64,))


@pytest.mark.parametrize("shortcut", ["conv", "pad"])
def test_four_times_as_wide(build, shortcut):
    found = infer_shapes(build(f"resnet8x4(shortcut={shortcut})"), (3, 32, 32))
    assert [m[0] for m in found.maps] == [32, 64, 128, 256]
    assert found.embedding == (256,)


def test_maps_are_taken_after_the_relu(build):
    net = build("resnet8")
    maps = net(torch.rand(4, 3, 32, 32)).maps
    assert all(m.min() == 0 for m in maps)


def test_a_block_without_a_residual_is_its_shortcut():
    block = BasicBlock(2, 4, 2, "pad").eval()
    torch.nn.init.zeros_(block.bn2.weight)
    x = torch.rand(1, 2, 5, 5)
    y = block(x)
    assert y.shape == (1, 4, 3, 3)
    assert torch.equal(y[:, :2], x[:, :, ::2, ::2])  # zeros stand behind the given channels, as in BSS
    assert y[:, 2:].abs().max() == 0


@pytest.mark.parametrize(
    ("word", "close"),
    [("resnet21", "resnet20"), ("resnet2", "resnet8"), ("resnet116", "resnet110"), ("resnet30x4", "resnet32x4")],
)
def test_a_depth_that_does_not_exist(build, word, close):
    with pytest.raises(UsageError, match=f"{word}: the depth must be 6n\\+2 .* the nearest is {close}$"):
        build(word)
