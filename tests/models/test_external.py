import copy

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from robustkd.errors import UsageError
from robustkd.models.external import wrap_classifier
from robustkd.models.net import infer_shapes

# Channels and side of each map at 32x32, read off the printed networks by hand.
EXPECTED = {
    "resnet18": [(64, 16), (64, 8), (128, 4), (256, 2), (512, 1)],
    "resnet50": [(64, 16), (256, 8), (512, 4), (1024, 2), (2048, 1)],  # not the expansions in the strided bottlenecks
    "mobilenet_v2": [(16, 16), (24, 8), (32, 4), (96, 2), (1280, 1)],
    "vgg11_bn": [(64, 32), (128, 16), (256, 8), (512, 4), (512, 2)],  # not what the last pool leaves
    "densenet121": [(64, 16), (256, 8), (512, 4), (1024, 2)],
    "efficientnet_b0": [(16, 16), (24, 8), (40, 4), (112, 2), (1280, 1)],  # not inside squeeze-and-excite
    "googlenet": [(64, 16), (192, 8), (480, 4), (832, 2)],
}
SHAPES = [(3, 32, 32), (1, 32, 32)]


def plain(name: str, **kwargs: object) -> nn.Module:
    return models.get_model(name, weights=None, num_classes=10, **kwargs)


@pytest.mark.parametrize("name", EXPECTED)
def test_maps_are_the_ends_of_the_stages(name):
    kwargs = {"vgg11_bn": {"init_weights": False}, "googlenet": {"init_weights": True, "aux_logits": False}}
    model = plain(name, **kwargs.get(name, {}))
    for shape in SHAPES:
        net = wrap_classifier(copy.deepcopy(model) if name != "vgg11_bn" else model, shape)
        found = infer_shapes(net, shape)
        assert found.maps == tuple((c, side, side) for c, side in EXPECTED[name])
        assert found.logits == (10,)
        assert found.embedding == (net.head.in_features,)


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0"])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_the_model_computes_is_untouched(name, shape):
    model = plain(name).eval()
    images = torch.rand(2, *shape)
    expected = model(images.repeat(1, 3 // shape[0], 1, 1))
    output = wrap_classifier(model, shape)(images)
    assert torch.allclose(output.logits, expected, atol=1e-5)
    linear = model.fc if name == "resnet18" else model.classifier
    assert torch.allclose(linear(output.embedding), output.logits, atol=1e-5)


def test_maps_are_those_of_the_named_layers():
    net = wrap_classifier(plain("resnet18"), (3, 64, 64)).eval()
    seen = {}
    for name in ("layer1", "layer2", "layer3", "layer4"):
        net.model.get_submodule(name).register_forward_hook(lambda *a, name=name: seen.update({name: a[2]}))
    output = net(torch.rand(2, 3, 64, 64))
    assert all(output.maps[i + 1] is seen[f"layer{i + 1}"] for i in range(4))
    assert torch.allclose(output.maps[-1].mean((2, 3)), output.embedding, atol=1e-6)


class Shared(nn.Module):
    """One ReLU for all, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3, 2), nn.Linear(5, 2)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.two(self.relu(self.one(x))))
        return self.head(x.mean((2, 3)))


def test_a_module_that_is_called_twice_is_tapped_at_the_right_turn():
    net = wrap_classifier(Shared(), (3, 32, 32))
    assert [tuple(t) for t in net.taps] == [("relu", 0), ("relu", 1)]
    assert not net.model.relu.inplace
    assert [m.shape[1] for m in net(torch.rand(2, 3, 32, 32)).maps] == [4, 5]


def test_nothing_is_left_over_between_forwards():
    net = wrap_classifier(plain("mobilenet_v2"), (3, 32, 32))
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert not net(images).maps[0].requires_grad
    assert net(images).maps[0].requires_grad
    net.model(images)  # hooks keep nothing for who calls the model itself
    assert not net._recorded
    with pytest.raises(RuntimeError):
        net(torch.rand(2, 5, 32, 32))
    assert not net._recorded


def test_a_copy_is_independent():
    net = wrap_classifier(plain("mobilenet_v2"), (3, 32, 32)).eval()
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
    net, other = (wrap_classifier(plain("mobilenet_v2"), (3, 32, 32)).eval() for _ in range(2))
    images = torch.rand(2, 3, 32, 32)
    assert not torch.equal(net(images).logits, other(images).logits)
    other.load_state_dict(net.state_dict())
    assert torch.equal(net(images).logits, other(images).logits)


def test_it_learns_in_training_mode():
    net = wrap_classifier(plain("mobilenet_v2"), (1, 32, 32)).train()
    images = torch.rand(4, 1, 32, 32, requires_grad=True)
    output = net(images)
    sum(m.mean() for m in output.maps).backward()
    assert images.grad.abs().sum() > 0


def test_networks_that_cannot_be_tapped():
    with pytest.raises(UsageError, match=r"SqueezeNet has no nn\.Linear, whose input would be its embedding"):
        wrap_classifier(plain("squeezenet1_1"), (3, 32, 32))
    with pytest.raises(UsageError, match=r"Sequential has no layer that returns maps"):
        wrap_classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), (3, 8, 8))
    with pytest.raises(UsageError, match="ResNet expects images of 3 channels, but these have 2"):
        wrap_classifier(plain("resnet18"), (2, 32, 32))
    with pytest.raises(UsageError, match=r"Sequential returns a Tensor that is not logits"):
        wrap_classifier(nn.Sequential(nn.Conv2d(3, 4, 3)), (3, 32, 32))


def test_auxiliary_heads_are_refused_when_they_first_answer():
    net = wrap_classifier(plain("googlenet", init_weights=False, aux_logits=True), (3, 64, 64))
    net.eval()(torch.rand(2, 3, 64, 64))
    with pytest.raises(UsageError, match=r"GoogLeNet returns a GoogLeNetOutputs that is not logits .*aux_logits=False"):
        net.train()(torch.rand(2, 3, 64, 64))
