"""Wrapped classifiers of torchvision: unchanged outputs, recorded maps, copies and training."""

import copy

import pytest
import torch
from torch import nn
from torchvision import models

from robustkd.errors import UsageError
from robustkd.models.external import wrap_classifier


def torchvision_model(name: str, **kwargs: object) -> nn.Module:
    return models.get_model(name, weights=None, num_classes=10, **kwargs)


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0"])
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 32, 32)])
def test_the_models_output_is_unchanged(name, shape):
    model = torchvision_model(name).eval()
    images = torch.rand(2, *shape)
    expected = model(images.repeat(1, 3 // shape[0], 1, 1))
    output = wrap_classifier(model, shape)(images)
    assert torch.allclose(output.logits, expected, atol=1e-5)
    linear = model.fc if name == "resnet18" else model.classifier
    assert torch.allclose(linear(output.embedding), output.logits, atol=1e-5)


def test_maps_are_the_outputs_of_the_layers():
    net = wrap_classifier(torchvision_model("resnet18"), (3, 64, 64)).eval()
    outputs = {}
    for name in ("layer1", "layer2", "layer3", "layer4"):
        net.model.get_submodule(name).register_forward_hook(lambda *a, name=name: outputs.update({name: a[2]}))
    output = net(torch.rand(2, 3, 64, 64))
    assert all(output.maps[i + 1] is outputs[f"layer{i + 1}"] for i in range(4))
    assert torch.allclose(output.maps[-1].mean((2, 3)), output.embedding, atol=1e-6)


def test_nothing_is_kept_between_forward_passes():
    net = wrap_classifier(torchvision_model("mobilenet_v2"), (3, 32, 32))
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert not net(images).maps[0].requires_grad
    assert net(images).maps[0].requires_grad
    net.model(images)  # hooks record nothing if the model itself is called
    assert not net._recorded
    with pytest.raises(RuntimeError):
        net(torch.rand(2, 5, 32, 32))
    assert not net._recorded


def test_a_copy_is_independent():
    net = wrap_classifier(torchvision_model("mobilenet_v2"), (3, 32, 32)).eval()
    other = copy.deepcopy(net)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        for p in other.parameters():
            p.zero_()
    before = net(images)
    assert other(images).logits.abs().max() == 0
    assert other(images).maps[0].abs().max() == 0
    assert torch.equal(net(images).maps[-1], before.maps[-1])
    assert net(images).logits.abs().max() > 0


def test_the_state_round_trips():
    net, other = (wrap_classifier(torchvision_model("mobilenet_v2"), (3, 32, 32)).eval() for _ in range(2))
    images = torch.rand(2, 3, 32, 32)
    assert not torch.equal(net(images).logits, other(images).logits)
    other.load_state_dict(net.state_dict())
    assert torch.equal(net(images).logits, other(images).logits)


def test_maps_have_gradients_in_training_mode():
    net = wrap_classifier(torchvision_model("mobilenet_v2"), (1, 32, 32)).train()
    images = torch.rand(4, 1, 32, 32, requires_grad=True)
    output = net(images)
    sum(m.mean() for m in output.maps).backward()
    assert images.grad.abs().sum() > 0


def test_images_of_unsuitable_channels_are_refused():
    with pytest.raises(UsageError, match="ResNet expects images of 3 channels, but these have 2"):
        wrap_classifier(torchvision_model("resnet18"), (2, 32, 32))


def test_auxiliary_heads_are_refused_when_they_become_active():
    net = wrap_classifier(torchvision_model("googlenet", init_weights=False, aux_logits=True), (3, 64, 64))
    net.eval()(torch.rand(2, 3, 64, 64))
    with pytest.raises(UsageError, match=r"GoogLeNet returns a GoogLeNetOutputs that is not logits .*aux_logits=False"):
        net.train()(torch.rand(2, 3, 64, 64))
