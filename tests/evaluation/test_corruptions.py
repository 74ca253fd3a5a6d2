"""Corruptions by hand, in their order, and on a net that reads what they take away."""

from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import make_network
from test_robustness import Plain, random
from torch import nn

from robustkd.data.loader import Loader
from robustkd.data.view import Source, View
from robustkd.evaluation import corruptions
from robustkd.models.net import Network

CPU = torch.device("cpu")


@cache
def lines() -> Loader:
    """Faint lines of one pixel, lying or standing, or none: what noise, blur and JPEG take away."""
    labels = np.arange(90) % 3
    images = np.random.default_rng(1).normal(128, 4, (90, 1, 32, 32))
    images[labels == 0, :, ::2] += 24
    images[labels == 1, :, :, ::2] += 24
    view = View.of(Source("lines", images.round().astype(np.uint8), labels, ("lying", "standing", "none")))
    return Loader(view, 50, CPU, augment=False)


@cache
def looker() -> Network:
    """A small net that has learned them."""
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
    net = Plain(nn.Sequential(*layers), mean=[0.5], std=[0.05])
    optimiser = torch.optim.Adam(net.parameters(), lr=0.03)
    for _ in range(60):
        for images, labels in lines().iter_plain():
            optimiser.zero_grad()
            F.cross_entropy(net(images).logits, labels).backward()
            optimiser.step()
    return net


def test_the_worst_severity_hurts_no_less_than_the_mildest():
    net, loader = looker(), lines()
    state = torch.get_rng_state()
    shares = corruptions.evaluate_corruptions(net, loader)
    assert torch.equal(torch.get_rng_state(), state)
    assert net.training
    assert list(shares) == ["noise", "blur", "contrast", "brightness", "jpeg"]
    for by_severity in shares.values():
        assert list(by_severity) == ["1", "2", "3", "4", "5"]
        assert by_severity["5"] <= by_severity["1"]
    assert shares["contrast"]["1"] > 0.6  # it has learned them
    assert sum(by_severity["5"] <= by_severity["1"] - 0.2 for by_severity in shares.values()) >= 4
    assert corruptions.evaluate_corruptions(net, loader) == shares


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 32, 32), (3, 32, 32), (3, 32, 48), (1, 64, 64)])
@pytest.mark.parametrize("name", corruptions.CORRUPTION_LEVELS)
def test_each_severity_changes_more_than_the_last_and_stays_in_range(name: str, channels: int, height: int, width: int):
    # Detail of every size, as in photographs.
    made, full = np.random.default_rng(1), np.zeros((4, channels, height, width))
    for size in (1, 2, 4, 8, 16):
        full += 0.1 * made.normal(size=(4, channels, height // size, width // size)).repeat(size, 2).repeat(size, 3)
    images, changes = torch.tensor(0.5 + full, dtype=torch.float32).clamp(0, 1), []
    for severity in range(1, 6):
        there = corruptions.corrupt_images(images, name, severity, random())
        assert there.shape == images.shape
        assert there.dtype == torch.float32
        assert there.min() >= 0
        assert there.max() <= 1
        assert torch.equal(there, corruptions.corrupt_images(images, name, severity, random()))
        changes.append((there - images).abs().mean().item())
    assert changes == sorted(changes)
    assert 0 < changes[0] < changes[-1]


def test_contrast_and_brightness_by_hand():
    images = torch.tensor([0.2, 0.4]).repeat(512).reshape(1, 1, 32, 32)  # its mean is 0.3
    weak = corruptions.corrupt_images(images, "contrast", 3, random())
    torch.testing.assert_close(weak[0, 0, 0, :2], 0.3 + 0.4 * torch.tensor([-0.1, 0.1]))
    torch.testing.assert_close(
        corruptions.corrupt_images(images, "brightness", 5, random())[0, 0, 0, :2], torch.tensor([0.52, 1.0])
    )


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 31), (4, 32, 32)])
def test_other_images_have_no_corruptions(shape: tuple[int, int, int]):
    view = View.of(Source("small", np.zeros((6, *shape), np.uint8), np.arange(6) % 2, ("a", "b")))
    assert not corruptions.supports_shape(shape)
    assert corruptions.evaluate_corruptions(make_network(), Loader(view, 6, CPU, augment=False)) == {}
