import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from robustkd.errors import UsageError
from robustkd.models import MODELS
from robustkd.models.build import build_network
from robustkd.models.layers import CosineLinear, build_head
from robustkd.registry import Registry


def test_the_table_is_read_without_torch():
    code = "import sys, robustkd.models; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("word", [w for entry in MODELS.values() for w in entry.examples])
def test_every_example_can_be_read_and_found(word):
    read = MODELS.parse(word)
    assert callable(read.load())
    assert read.kwargs()


@pytest.mark.parametrize("word", ["resnet8", "wrn_10_1", "torchvision:mobilenet_v2"])
@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_one_seed_one_net(build, word, kind):
    one, same, other = (build(word, seed=seed, head=kind).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[k], same[k]) for k in one)
    assert not all(torch.equal(one[k], other[k]) for k in one)


def test_the_global_generator_is_left_as_it_was(build):
    before = torch.get_rng_state()
    build("resnet8", head="cosine")
    build("torchvision:mobilenet_v2")
    assert torch.equal(torch.get_rng_state(), before)


def test_the_head_does_not_change_the_rest(build):
    linear, cosine = build("resnet8").state_dict(), build("resnet8", head="cosine").state_dict()
    assert all(torch.equal(linear[k], cosine[k]) for k in linear if not k.startswith("head"))
    assert "head.bias" not in cosine


@pytest.mark.parametrize("word", ["resnet8", "torchvision:mobilenet_v2"])
@pytest.mark.parametrize("bf16", [False, True])
def test_the_cosine_head(build, word, bf16):
    net = build(word, head="cosine", bf16=bf16).eval()
    logits, embedding, _ = net(torch.rand(2, 3, 32, 32))
    assert isinstance(net.head, CosineLinear)
    for b in range(2):
        for k in range(10):
            cosine = F.cosine_similarity(embedding[b], net.head.weight[k], dim=0)
            assert abs(logits[b, k] - 30 * cosine) < 1e-4


def test_an_unknown_head():
    with pytest.raises(UsageError, match=r"no head is called 'cosin' \(did you mean 'cosine'\?\); there are: linear"):
        build_head("cosin", 4, 2)


def test_normalisation_precision_and_layout_as_asked(build):
    net = build("resnet8", (1, 16, 16), mean=[0.3], std=[0.2], bf16=True)
    assert net.mean.shape == (1, 1, 1, 1)
    assert net.state_dict()["mean"].item() == pytest.approx(0.3)
    assert net.std.item() == pytest.approx(0.2)
    assert net.bf16
    assert net.stages[1][0].conv1.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("resent20", "did you mean 'resnet"),
        ("resnet20(shortcut=convolution)", "shortcut is 'convolution' but should be 'conv' or 'pad'"),
        ("resnet20(widht=2)", r"has no parameter 'widht' \(did you mean 'width'\?\)"),
        ("torchvision:resnet19", r"torchvision has no classifier of this name \(did you mean 'resnet18'\?\)"),
    ],
)
def test_words_that_mean_nothing(build, word, said):
    with pytest.raises(UsageError, match=said):
        build(word)


def test_images_that_are_too_small(build):
    with pytest.raises(UsageError, match="net 'resnet8': images of 7x32 are too small; the minimum is 8x8"):
        build("resnet8", (3, 7, 32))
    with pytest.raises(UsageError, match=r"AlexNet does not accept images of 32x32 .*; it accepts 64x64"):
        build("torchvision:alexnet")


def stubborn(channels: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 7))


def nothing(channels: int, classes: int) -> str:
    return "net"


def test_nets_of_a_users_own():
    table = Registry("net", "robustkd.models", "none", {})
    table.add("stubborn", stubborn)
    table.add("nothing", nothing)
    kwargs = {"shape": (3, 16, 16), "mean": [0.0] * 3, "std": [1.0] * 3, "seed": 0}
    assert build_network(table.parse("stubborn"), classes=7, **kwargs)(torch.rand(2, 3, 16, 16)).logits.shape == (2, 7)
    with pytest.raises(UsageError, match="net 'stubborn' returns 7 logits for 10 classes; its builder must use"):
        build_network(table.parse("stubborn"), classes=10, **kwargs)
    with pytest.raises(UsageError, match=r"net 'nothing' builds a str, not a torch\.nn\.Module"):
        build_network(table.parse("nothing"), classes=10, **kwargs)
