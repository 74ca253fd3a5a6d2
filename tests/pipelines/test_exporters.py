"""Comparison of exported files with the network, and networks that cannot be traced."""

import numpy as np
import pytest
import torch

from pipelines.exporters import compare_probabilities, first_line, random_images, trace_network
from robustkd.errors import ExecutionError


class Uniform(torch.nn.Module):
    """Predicts the same probability for each of three classes."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.full((len(images), 3), 1 / 3)


class Untraceable(torch.nn.Module):
    """Depends on the values of its input."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.float() if images.sum() > 0 else -images.float()


IMAGES = {"random": random_images((1, 8, 8))}


def test_the_largest_difference_is_returned() -> None:
    def predict(images: np.ndarray) -> np.ndarray:
        return np.full((len(images), 3), 1 / 3 + len(images) * 1e-5, np.float32)

    assert compare_probabilities(Uniform(), predict, IMAGES, "x") == pytest.approx(5e-5, rel=0.01)


def test_nan_and_another_shape_are_differences() -> None:
    with pytest.raises(ExecutionError, match=r"x differs from the network: .* differs by nan in a batch of 1"):
        compare_probabilities(Uniform(), lambda images: np.full((len(images), 3), np.nan), IMAGES, "x")
    with pytest.raises(ExecutionError, match="differs by inf in a batch of 1"):
        compare_probabilities(Uniform(), lambda images: np.zeros((len(images), 4)), IMAGES, "x")


def test_an_untraceable_network_is_reported_by_name() -> None:
    with pytest.raises(ExecutionError, match=r"torch.export cannot trace the network mine \(.+\)$"):
        trace_network(Untraceable(), {"shape": (1, 8, 8), "model": "mine"})


def test_the_first_line_of_an_error() -> None:
    assert first_line(RuntimeError("\n  first \nsecond")) == "first"
    assert first_line(RuntimeError()) == "RuntimeError"
    assert len(first_line(RuntimeError("x" * 999))) == 200
