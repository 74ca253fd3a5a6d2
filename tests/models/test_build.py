"""Building networks by name: seeds, heads, options and error messages."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from robustkd.errors import UsageError
from robustkd.models import MODELS
from robustkd.models.build import build_network
from robustkd.registry import Registry


def test_the_registry_does_not_import_torch():
    code = "import sys, robustkd.models; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", [example for entry in MODELS.values() for example in entry.examples])
def test_every_example_can_be_parsed_and_loaded(name):
    spec = MODELS.parse(name)
    assert callable(spec.load())
    assert spec.kwargs()


@pytest.mark.parametrize("name", ["resnet8", "wrn_10_1", "torchvision:mobilenet_v2"])
@pytest.mark.parametrize("head", ["linear", "cosine"])
def test_weights_depend_on_the_seed_only(build, name, head):
    one, same, other = (build(name, seed=seed, head=head).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[k], same[k]) for k in one)
    assert not all(torch.equal(one[k], other[k]) for k in one)


def test_the_global_generator_is_unchanged(build):
    before = torch.get_rng_state()
    build("resnet8", head="cosine")
    build("torchvision:mobilenet_v2")
    assert torch.equal(torch.get_rng_state(), before)


def test_the_head_does_not_change_the_other_weights(build):
    linear, cosine = build("resnet8").state_dict(), build("resnet8", head="cosine").state_dict()
    assert all(torch.equal(linear[k], cosine[k]) for k in linear if not k.startswith("head"))
    assert "head.bias" not in cosine


def test_normalisation_precision_and_memory_format(build):
    net = build("resnet8", (1, 16, 16), mean=[0.3], std=[0.2], bf16=True)
    assert net.mean.shape == (1, 1, 1, 1)
    assert net.state_dict()["mean"].item() == pytest.approx(0.3)
    assert net.std.item() == pytest.approx(0.2)
    assert net.bf16
    assert net.stages[1][0].conv1.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resent20", "did you mean 'resnet"),
        ("resnet20(shortcut=convolution)", "shortcut is 'convolution' but should be 'conv' or 'pad'"),
        ("resnet20(widht=2)", r"has no parameter 'widht' \(did you mean 'width'\?\)"),
        ("torchvision:resnet19", r"torchvision has no classifier of this name \(did you mean 'resnet18'\?\)"),
    ],
)
def test_unknown_names_and_parameters_are_refused(build, name, message):
    with pytest.raises(UsageError, match=message):
        build(name)


def test_small_images_are_refused(build):
    with pytest.raises(UsageError, match="net 'resnet8': images of 7x32 are too small; the minimum is 8x8"):
        build("resnet8", (3, 7, 32))
    with pytest.raises(UsageError, match=r"AlexNet does not accept images of 32x32 .*; it accepts 64x64"):
        build("torchvision:alexnet")


def ignores_classes(channels: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 7))


def not_a_module(channels: int, classes: int) -> str:
    return "net"


def test_a_users_network_is_wrapped_and_checked():
    registry = Registry("net", "robustkd.models", "none", {})
    registry.add("ignores_classes", ignores_classes)
    registry.add("not_a_module", not_a_module)
    kwargs = {"shape": (3, 16, 16), "mean": [0.0] * 3, "std": [1.0] * 3, "seed": 0}
    net = build_network(registry.parse("ignores_classes"), classes=7, **kwargs)
    assert net(torch.rand(2, 3, 16, 16)).logits.shape == (2, 7)
    with pytest.raises(UsageError, match="net 'ignores_classes' returns 7 logits for 10 classes; its builder must use"):
        build_network(registry.parse("ignores_classes"), classes=10, **kwargs)
    with pytest.raises(UsageError, match=r"net 'not_a_module' builds a str, not a torch\.nn\.Module"):
        build_network(registry.parse("not_a_module"), classes=10, **kwargs)


@pytest.mark.parametrize(
    ("word", "side", "accepted"),
    [("timm:test_vit", 70, "64x64 and 80x80"), ("torchvision:vit_b_16", 40, "32x32 and 48x48")],
)
def test_an_image_size_that_is_no_multiple_of_patches(word: str, side: int, accepted: str) -> None:
    with pytest.raises(UsageError, match=f"images of {side}x{side} .*; (it|those) .*{accepted}( can)?$"):
        build_network(MODELS.parse(word), shape=(3, side, side), classes=2, mean=[0], std=[1], seed=0)
