"""Corruptions by hand, their severities, and their effect on a network that depends on fine detail."""

from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from robustkd.data.loader import Loader
from robustkd.data.view import Source, View
from robustkd.evaluation import corruptions
from robustkd.models.net import Network
from tests.evaluation.module_network import ModuleNetwork
from tests.helpers import make_network

CPU = torch.device("cpu")


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@cache
def line_images() -> Loader:
    """Faint lines of one pixel, horizontal or vertical, or none: the detail that noise, blur and JPEG remove."""
    labels = np.arange(90) % 3
    images = np.random.default_rng(1).normal(128, 4, (90, 1, 32, 32))
    images[labels == 0, :, ::2] += 24
    images[labels == 1, :, :, ::2] += 24
    view = View.of(Source("lines", images.round().astype(np.uint8), labels, ("horizontal", "vertical", "none")))
    return Loader(view, 50, CPU, augment=False)


@cache
def trained_network() -> Network:
    """A small network trained on the lines."""
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
    net = ModuleNetwork(nn.Sequential(*layers), mean=[0.5], std=[0.05])
    optimiser = torch.optim.Adam(net.parameters(), lr=0.03)
    for _ in range(60):
        for images, labels in line_images().iter_plain():
            optimiser.zero_grad()
            F.cross_entropy(net(images).logits, labels).backward()
            optimiser.step()
    return net


def test_accuracy_at_severity_5_is_not_above_that_at_severity_1():
    net, loader = trained_network(), line_images()
    state = torch.get_rng_state()
    accuracies = corruptions.evaluate_corruptions(net, loader)
    assert torch.equal(torch.get_rng_state(), state)
    assert net.training
    assert list(accuracies) == ["noise", "blur", "contrast", "brightness", "jpeg"]
    for by_severity in accuracies.values():
        assert list(by_severity) == ["1", "2", "3", "4", "5"]
        assert by_severity["5"] <= by_severity["1"]
    assert accuracies["contrast"]["1"] > 0.6  # the network is trained
    assert sum(by_severity["5"] <= by_severity["1"] - 0.2 for by_severity in accuracies.values()) >= 4
    assert corruptions.evaluate_corruptions(net, loader) == accuracies


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 32, 32), (3, 32, 32), (3, 32, 48), (1, 64, 64)])
@pytest.mark.parametrize("name", corruptions.CORRUPTION_LEVELS)
def test_changes_increase_with_severity_and_images_stay_in_range(name: str, channels: int, height: int, width: int):
    # Detail at all scales, as in photographs.
    rng, detail = np.random.default_rng(1), np.zeros((4, channels, height, width))
    for size in (1, 2, 4, 8, 16):
        detail += 0.1 * rng.normal(size=(4, channels, height // size, width // size)).repeat(size, 2).repeat(size, 3)
    images, changes = torch.tensor(0.5 + detail, dtype=torch.float32).clamp(0, 1), []
    for severity in range(1, 6):
        corrupted = corruptions.corrupt_images(images, name, severity, generator())
        assert corrupted.shape == images.shape
        assert corrupted.dtype == torch.float32
        assert corrupted.min() >= 0
        assert corrupted.max() <= 1
        assert torch.equal(corrupted, corruptions.corrupt_images(images, name, severity, generator()))
        changes.append((corrupted - images).abs().mean().item())
    assert changes == sorted(changes)
    assert 0 < changes[0] < changes[-1]


def test_contrast_and_brightness_by_hand():
    images = torch.tensor([0.2, 0.4]).repeat(512).reshape(1, 1, 32, 32)  # of mean 0.3
    reduced = corruptions.corrupt_images(images, "contrast", 3, generator())
    torch.testing.assert_close(reduced[0, 0, 0, :2], 0.3 + 0.4 * torch.tensor([-0.1, 0.1]))
    torch.testing.assert_close(
        corruptions.corrupt_images(images, "brightness", 5, generator())[0, 0, 0, :2], torch.tensor([0.52, 1.0])
    )


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 31), (4, 32, 32)])
def test_corruptions_are_not_defined_for_small_or_multispectral_images(shape: tuple[int, int, int]):
    view = View.of(Source("small", np.zeros((6, *shape), np.uint8), np.arange(6) % 2, ("a", "b")))
    assert not corruptions.supports_shape(shape)
    assert corruptions.evaluate_corruptions(make_network(), Loader(view, 6, CPU, augment=False)) == {}
