"""The layers of networks of this package, of timm and of others."""

import pytest
import torchvision
from torch import nn

from robustkd.models import MODELS
from robustkd.models.build import build_network
from robustkd.models.external import wrap_classifier
from robustkd.models.layer_numbers import number_layers
from tests.helpers import make_network


def test_the_layers_of_our_own_networks_are_stem_and_stages():
    layers = number_layers(make_network("wrn_16_1"))
    assert {name.partition(".")[0]: layer for name, layer in layers.items()} == {
        "stem": 0,
        "stages": 3,
        "neck": 3,
        "head": 4,
    }
    assert {name[:8]: layer for name, layer in layers.items() if "stages" in name} == {
        "stages.0": 1,
        "stages.1": 2,
        "stages.2": 3,
    }


def test_the_layers_of_a_timm_network_are_its_blocks():
    net = build_network(MODELS.parse("timm:test_efficientnet"), shape=(3, 32, 32), classes=5, mean=[0], std=[1], seed=0)
    layers = number_layers(net)
    assert (layers["model.conv_stem.weight"], layers["model.blocks.0.0.conv.weight"]) == (0, 1)
    assert layers["model.blocks.1.0.conv_exp.weight"] == 2
    assert layers["model.classifier.weight"] == layers["model.classifier.bias"] == max(layers.values())
    assert layers.keys() == {name for name, _ in net.named_parameters()}


@pytest.mark.parametrize(
    ("name", "low", "high", "count"),
    [
        ("resnet18", "model.conv1.weight", "model.layer4.1.conv2.weight", 7),  # conv1, bn1, layer1 to 4 and the head
        ("mobilenet_v3_small", "model.features.0.0.weight", "model.features.12.0.weight", 15),
    ],
)
def test_the_layers_of_other_networks_are_their_numbered_modules(name, low, high, count):
    net = wrap_classifier(getattr(torchvision.models, name)(num_classes=4), (3, 64, 64))
    layers = number_layers(net)
    assert layers[low] == 0
    assert layers[high] < max(layers.values())
    assert {*layers.values()} == {*range(max(layers.values()) + 1)}
    assert len({*layers.values()}) == count
    head = {name for name, p in net.named_parameters() if any(p is q for q in net.head.parameters())}
    assert {name for name, layer in layers.items() if layer == max(layers.values())} == head


def test_a_network_of_unnumbered_modules_has_one_layer_for_each():
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, stride=2, padding=1)
            self.pool, self.last = nn.AdaptiveAvgPool2d(1), nn.Linear(4, 2)

        def forward(self, x):
            return self.last(self.pool(self.second(self.first(x))).flatten(1))

    layers = number_layers(wrap_classifier(Plain(), (3, 32, 32)))
    assert [layers[f"model.{name}.weight"] for name in ("first", "second", "last")] == [0, 1, 2]
