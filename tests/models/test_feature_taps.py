"""Feature taps: which modules' outputs are feature maps, and classifiers that have none."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from robustkd.errors import UsageError
from robustkd.models.external import wrap_classifier
from robustkd.models.feature_taps import find_head, record_calls
from robustkd.models.net import infer_shapes

# Channels and side of each map at 32x32, determined by hand from the printed networks.
EXPECTED = {
    "resnet18": [(64, 16), (64, 8), (128, 4), (256, 2), (512, 1)],
    "resnet50": [(64, 16), (256, 8), (512, 4), (1024, 2), (2048, 1)],  # not the expansions in the strided bottlenecks
    "mobilenet_v2": [(16, 16), (24, 8), (32, 4), (96, 2), (1280, 1)],
    "vgg11_bn": [(64, 32), (128, 16), (256, 8), (512, 4), (512, 2)],  # not the output of the last pool
    "densenet121": [(64, 16), (256, 8), (512, 4), (1024, 2)],
    "efficientnet_b0": [(16, 16), (24, 8), (40, 4), (112, 2), (1280, 1)],  # not inside squeeze-and-excite
    "googlenet": [(64, 16), (192, 8), (480, 4), (832, 2)],
    "regnet_x_400mf": [(32, 16), (32, 8), (64, 4), (160, 2), (400, 1)],
    "shufflenet_v2_x0_5": [(24, 16), (48, 4), (96, 2), (1024, 1)],
    "mobilenet_v3_small": [(16, 16), (16, 8), (24, 4), (48, 2), (576, 1)],
    "convnext_tiny": [(96, 8), (192, 4), (384, 2), (768, 1)],
    "swin_t": [(96, 8), (192, 4), (384, 2), (768, 1)],  # of (B, h, w, c)
}
OPTIONS = {"vgg11_bn": {"init_weights": False}, "googlenet": {"init_weights": True, "aux_logits": False}}


@pytest.mark.parametrize("name", EXPECTED)
def test_maps_are_the_outputs_of_the_stages(name):
    model = models.get_model(name, weights=None, num_classes=10, **OPTIONS.get(name, {}))
    for shape in ((3, 32, 32), (1, 32, 32)):
        net = wrap_classifier(copy.deepcopy(model) if name != "vgg11_bn" else model, shape)
        inferred = infer_shapes(net, shape)
        assert inferred.maps == tuple((c, side, side) for c, side in EXPECTED[name])
        assert inferred.logits == (10,)
        assert inferred.embedding == (net.head.in_features,)


class Attention(nn.Module):
    """Attention over all positions of tokens (B, N, c), with its matrix (B, heads, N, N) as the output of a module."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.dropout = nn.Linear(width, 3 * width), nn.Dropout(0.0)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, 2, -1)).permute(2, 0, 3, 1, 4)
        return (self.dropout((q @ k.transpose(2, 3)).softmax(dim=3)) @ v).transpose(1, 2).flatten(2)


class Transformer(nn.Module):
    """A columnar transformer for patches of 4x4, with a class token."""

    def __init__(self, depth: int, width: int = 8) -> None:
        super().__init__()
        self.patches, self.token = nn.Conv2d(3, width, 4, 4), nn.Parameter(torch.randn(1, 1, width))
        self.blocks, self.head = nn.Sequential(*(Attention(width) for _ in range(depth))), nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        return self.head(self.blocks(torch.cat([self.token.expand(len(x), -1, -1), tokens], dim=1))[:, 0])


@pytest.mark.parametrize("shape", [(3, 16, 16), (3, 12, 20)])
def test_maps_of_a_transformer_are_the_tokens_after_its_blocks_and_no_attention_matrix(shape):
    net = wrap_classifier(Transformer(depth=8), shape)
    assert [tap.path for tap in net.taps] == [f"blocks.{i}" for i in (0, 1, 3, 5, 7)]
    images, tokens = torch.rand(2, *shape), []
    net.model.blocks[3].register_forward_hook(lambda *args: tokens.append(args[2]))
    x = net(images).maps[2]
    assert x.shape == (2, 8, shape[1] // 4, shape[2] // 4)
    for i in range(x.shape[2]):
        for j in range(x.shape[3]):
            assert torch.equal(x[:, :, i, j], tokens[0][:, 1 + i * x.shape[3] + j])


class Windows(nn.Module):
    """A block on maps (B, h, w, c), preceded by patches of 2x2, as in Swin; its attention is over the whole map."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.merge, self.attention = nn.Linear(4 * inside, outside), Attention(outside)

    def forward(self, x: Tensor) -> Tensor:
        x = self.merge(x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).permute(0, 1, 3, 2, 4, 5).flatten(3))
        return x + self.attention(x.flatten(1, 2)).unflatten(1, x.shape[1:3])


class Hierarchy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stages, self.head = nn.Sequential(Windows(3, 8), Windows(8, 16), Windows(16, 32)), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stages(x.permute(0, 2, 3, 1)).mean((1, 2)))


def test_maps_with_channels_last_are_transposed_and_attention_matrices_are_none():
    # The last matrix is (B, 2, 16, 16), and a map of 16x16 exists.
    net = wrap_classifier(Hierarchy(), (3, 32, 32))
    assert [(tap.path, tap.layout.kind) for tap in net.taps] == [
        (name, "NHWC") for name in ("stages.0", "stages.1", "stages")
    ]
    x = torch.rand(2, 3, 32, 32)
    output = net(x)
    assert [m.shape[1:] for m in output.maps] == [(8, 16, 16), (16, 8, 8), (32, 4, 4)]
    assert torch.equal(output.maps[-1].mean((2, 3)), output.embedding)
    assert torch.equal(output.logits, net.model(x))


def test_a_convolution_of_the_pooled_map_is_a_head():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2), nn.Conv2d(4, 6, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 5, 1), nn.Flatten()
    )
    images = torch.rand(2, 3, 32, 32)
    expected = model(images)
    net = wrap_classifier(model, (3, 32, 32))
    assert torch.allclose(net(images).logits, expected, atol=1e-6)
    assert type(net.head) is nn.Linear
    assert torch.allclose(net.head(net(images).embedding), expected, atol=1e-6)


class SharedReLU(nn.Module):
    """A classifier with a single ReLU, in place, for all layers."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3, 2), nn.Linear(5, 2)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.two(self.relu(self.one(x))))
        return self.head(x.mean((2, 3)))


def test_the_calls_of_a_shared_module_are_distinguished():
    net = wrap_classifier(SharedReLU(), (3, 32, 32))
    assert [(tap.path, tap.call_index) for tap in net.taps] == [("relu", 0), ("relu", 1)]
    assert not net.model.relu.inplace
    assert [m.shape[1] for m in net(torch.rand(2, 3, 32, 32)).maps] == [4, 5]


def test_no_hooks_remain_on_the_model():
    model = SharedReLU()
    calls = record_calls(model, (3, 32, 32))
    assert find_head(model, calls) == "head"
    assert not any(module._forward_hooks for module in model.modules())


def test_models_without_maps_embedding_or_logits_are_refused():
    squeezenet = models.get_model("squeezenet1_1", weights=None, num_classes=10)
    with pytest.raises(UsageError, match=r"SqueezeNet has no nn\.Linear, whose input would be its embedding"):
        wrap_classifier(squeezenet, (3, 32, 32))
    with pytest.raises(UsageError, match=r"Sequential has no layer that returns maps"):
        wrap_classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), (3, 8, 8))
    with pytest.raises(UsageError, match=r"Sequential returns a Tensor that is not logits"):
        wrap_classifier(nn.Sequential(nn.Conv2d(3, 4, 3)), (3, 32, 32))
