"""The network interface: outputs, precision, shapes, frozen teachers and batch-norm statistics."""

import copy
from itertools import islice

import pytest
import torch
from torch import nn

from robustkd.models.net import FeatureMaps, Frozen, StagedNetwork, freeze_bn_stats, infer_shapes

NAMES = ["resnet8", "wrn_10_1", "torchvision:mobilenet_v2"]


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def tiny_network() -> StagedNetwork:
    return StagedNetwork(nn.Conv2d(1, 2, 1), [nn.Conv2d(2, 3, 1), nn.ReLU()], nn.Linear(3, 5), mean=[0.5], std=[0.25])


def test_normalisation_is_the_first_layer():
    net = tiny_network()
    images = torch.rand(2, 1, 4, 4)
    assert torch.allclose(net(images).maps[0], net.stem((images - 0.5) / 0.25))


def test_the_output_by_hand():
    net = tiny_network()
    logits, embedding, maps = net(torch.rand(2, 1, 4, 4))
    assert torch.allclose(maps[2], maps[1].relu())
    assert torch.allclose(embedding, torch.stack([maps[2][:, c].flatten(1).sum(1) / 16 for c in range(3)], dim=1))
    assert torch.allclose(logits, net.head(embedding))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bf16", [False, True])
def test_iter_features_yields_the_maps_of_forward(build, images, name, bf16):
    net = build(name, bf16=bf16).eval()
    for one, other in zip(net.iter_features(images), net(images).maps, strict=True):
        assert torch.equal(one, other)


def test_stopping_iter_features_early_skips_the_later_stages(build, images):
    net = build("resnet8")
    net.stages[2].register_forward_hook(lambda *_: pytest.fail("stage 3 ran"))
    assert len(list(islice(net.iter_features(images), 3))) == 3


@pytest.mark.parametrize("name", NAMES)
def test_bf16_computes_in_bfloat16_and_returns_float32(build, images, name):
    net = build(name, bf16=True)
    dtypes = []
    next(m for m in net.modules() if isinstance(m, nn.Conv2d)).register_forward_hook(
        lambda *a: dtypes.append(a[2].dtype)
    )
    output = net(images)
    assert dtypes == [torch.bfloat16]
    assert {t.dtype for t in (output.logits, output.embedding, *output.maps)} == {torch.float32}


def test_bf16_keeps_the_head_in_float32(build, images):
    output = build("resnet8", bf16=True)(images)
    assert not torch.equal(output.logits, output.logits.bfloat16().float())
    assert not torch.equal(output.embedding, output.embedding.bfloat16().float())


@pytest.mark.parametrize("name", NAMES)
def test_autocast_does_not_leak(build, images, name):
    net = build(name, bf16=True)
    for _ in net.iter_features(images):
        assert not torch.is_autocast_enabled("cpu")
    net(images)
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("name", NAMES)
def test_the_callers_autocast_is_overridden(build, images, name):
    net = build(name).eval()
    outside = net(images)
    with torch.autocast("cpu", torch.bfloat16):
        inside = net(images)
    assert torch.equal(inside.logits, outside.logits)
    assert torch.equal(inside.maps[-1], outside.maps[-1])


@pytest.mark.parametrize("name", ["resnet8", "torchvision:mobilenet_v2"])
def test_float64_stays_float64(build, images, name):
    output = build(name).double()(images.double())
    assert {t.dtype for t in (output.logits, output.embedding, *output.maps)} == {torch.float64}


def test_maps_are_converted_once_and_keep_the_graph():
    x = torch.ones(1, 1, 2, 2, requires_grad=True)
    maps = FeatureMaps([x.bfloat16(), x])
    with torch.no_grad():
        first = maps[0]
    assert first.requires_grad
    assert maps[0] is first
    assert maps[-1] is x
    assert [m.dtype for m in maps[:]] == [torch.float32] * 2
    with pytest.raises(IndexError):
        maps[2]
    maps[0].sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


def test_no_map_is_modified_in_place(build, images):
    for name in NAMES:
        for m in build(name)(images).maps:
            assert m._version == 0, name


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_has_a_gradient_from_the_logits(build, images, name):
    net = build(name, bf16=True)
    net(images).logits.square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_infer_shapes_leaves_the_network_unchanged(build, images, name):
    net = build(name).train()
    next(net.children()).eval()
    modes = [m.training for m in net.modules()]
    before = copy.deepcopy(net.state_dict())
    inferred = infer_shapes(net, (3, 32, 32))
    assert modes == [m.training for m in net.modules()]
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert torch.is_grad_enabled()
    output = net(images)
    assert inferred.maps == tuple(tuple(m.shape[1:]) for m in output.maps)
    assert (inferred.logits, inferred.embedding) == (output.logits.shape[1:], output.embedding.shape[1:])


class Holder(nn.Module):
    def __init__(self, teacher: Frozen) -> None:
        super().__init__()
        self.teacher = teacher
        self.student = nn.Linear(1, 1)


def test_a_frozen_network_is_not_registered_by_its_holder(build):
    teacher = Frozen(build("resnet8"))
    holder = Holder(teacher).train()
    assert {name for name, _ in holder.named_parameters()} == {"student.weight", "student.bias"}
    assert set(holder.state_dict()) == {"student.weight", "student.bias"}
    assert not any(m.training for m in teacher.net.modules())


def test_a_frozen_network_has_gradients_of_the_images_only(build, images):
    teacher = Frozen(build("resnet8"))
    images = images.requires_grad_()
    teacher(images).logits.sum().backward()
    assert images.grad.abs().sum() > 0
    assert all(p.grad is None for p in teacher.net.parameters())


def test_the_output_of_a_frozen_network_is_reproducible(build, images):
    teacher = Frozen(build("resnet8"))
    digest, first = teacher.digest, teacher(images).logits
    assert torch.equal(teacher(images).logits, first)
    assert Frozen(teacher.net).digest == digest


def test_the_digest_covers_weights_and_buffers(build):
    net = build("resnet8")
    digest = Frozen(net).digest
    assert len(digest) == 16
    assert int(digest, 16) >= 0
    assert Frozen(build("resnet8")).digest == digest
    assert Frozen(build("resnet8").to(memory_format=torch.contiguous_format)).digest == digest
    assert Frozen(build("resnet8", seed=1)).digest != digest
    assert Frozen(build("resnet8", mean=[0.4] * 3)).digest != digest
    with torch.no_grad():
        net.stem[1].running_mean[0] += 1
    assert Frozen(net).digest != digest


def test_frozen_batch_norm_uses_batch_statistics_and_keeps_its_running_ones(build):
    net = build("wrn_10_1", (1, 8, 8)).train()
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    before = {name: buffer.clone() for name, buffer in net.named_buffers() if "running" in name}
    with freeze_bn_stats(net):
        frozen = net(images).logits
    assert all(torch.equal(buffer, before[name]) for name, buffer in net.named_buffers() if name in before)
    with freeze_bn_stats(net, False):
        updated = net(images).logits
    assert torch.equal(updated, frozen)
    assert not any(torch.equal(buffer, before[name]) for name, buffer in net.named_buffers() if name in before)
