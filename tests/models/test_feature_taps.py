"""Feature taps: which modules' outputs are feature maps, and classifiers that have none."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from robustkd.errors import UsageError
from robustkd.models.external import wrap_classifier
from robustkd.models.feature_taps import FeatureTap, find_feature_taps
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
    assert net.taps == (FeatureTap("relu", 0), FeatureTap("relu", 1))
    assert not net.model.relu.inplace
    assert [m.shape[1] for m in net(torch.rand(2, 3, 32, 32)).maps] == [4, 5]


def test_no_hooks_remain_on_the_model():
    model = SharedReLU()
    assert find_feature_taps(model, (3, 32, 32))[1] == "head"
    assert not any(module._forward_hooks for module in model.modules())


def test_models_without_maps_embedding_or_logits_are_refused():
    squeezenet = models.get_model("squeezenet1_1", weights=None, num_classes=10)
    with pytest.raises(UsageError, match=r"SqueezeNet has no nn\.Linear, whose input would be its embedding"):
        find_feature_taps(squeezenet, (3, 32, 32))
    with pytest.raises(UsageError, match=r"Sequential has no layer that returns maps"):
        find_feature_taps(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), (3, 8, 8))
    with pytest.raises(UsageError, match=r"Sequential returns a Tensor that is not logits"):
        find_feature_taps(nn.Sequential(nn.Conv2d(3, 4, 3)), (3, 32, 32))
