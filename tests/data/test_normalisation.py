"""Pixel statistics, against NumPy's mean and standard deviation."""

import numpy as np
import pytest

from robustkd.data.normalisation import channel_mean_std
from robustkd.data.view import Source, View


def make_view(n: int = 50, channels: int = 3, seed: int = 0) -> View:
    images = np.random.default_rng(seed).integers(0, 256, (n, channels, 4, 5), dtype=np.uint8)
    return View.of(Source("noise", images, np.arange(n) % 2, ("a", "b")))


@pytest.mark.parametrize("channels", [1, 3])
def test_mean_and_standard_deviation_are_numpys(channels: int) -> None:
    view = make_view(channels=channels)
    mean, std = channel_mean_std(view)
    pixels = view.images() / 255
    assert np.allclose(mean, pixels.mean(axis=(0, 2, 3)), rtol=0, atol=1e-12)
    assert np.allclose(std, pixels.std(axis=(0, 2, 3)), rtol=0, atol=1e-12)


def test_only_the_rows_of_the_view_count_in_any_order() -> None:
    view = make_view()
    rows = np.array([7, 3, 20, 11])
    assert channel_mean_std(view.take(rows)) == channel_mean_std(view.take(rows[::-1])) != channel_mean_std(view)
    assert np.allclose(channel_mean_std(view.take(rows))[0], (view.images()[rows] / 255).mean(axis=(0, 2, 3)))


def test_views_larger_than_a_chunk_are_counted_whole() -> None:
    view = make_view(n=4100, channels=1)
    assert np.allclose(channel_mean_std(view)[0], (view.images() / 255).mean(), rtol=0, atol=1e-12)


def test_a_constant_channel_has_a_positive_standard_deviation() -> None:
    images = np.full((3, 1, 2, 2), 51, np.uint8)
    mean, std = channel_mean_std(View.of(Source("flat", images, np.array([0, 1, 0]), ("a", "b"))))
    assert (mean, std) == ((0.2,), (1 / 255,))
