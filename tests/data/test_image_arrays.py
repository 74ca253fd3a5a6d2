"""Arrays as scikit-learn passes them: shapes, value ranges, and what is refused."""

from typing import Any

import numpy as np
import pytest

from robustkd.data.image_arrays import to_uint8_images


def test_bytes_are_unchanged() -> None:
    images = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    assert to_uint8_images(images) is images
    assert np.array_equal(to_uint8_images(images[..., 0]), images[..., :1])


@pytest.mark.parametrize(
    ("values", "white", "expected"),
    [
        (np.array([0.0, 0.5, 1.0, 0.1]), None, [0, 128, 255, 26]),
        (np.array([False, True, True, False]), None, [0, 255, 255, 0]),
        (np.array([0, 7, 255, 100], np.int64), None, [0, 7, 255, 100]),
        (np.array([0, 8, 16, 4], np.uint8), 16, [0, 128, 255, 64]),
    ],
)
def test_values_are_scaled_to_bytes(values: np.ndarray, white: float | None, expected: list[int]) -> None:
    images = to_uint8_images(values.reshape(1, 2, 2), white=white)
    assert (images.dtype, images.shape) == (np.uint8, (1, 2, 2, 1))
    assert images.ravel().tolist() == expected


def test_channels_may_come_first() -> None:
    images = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    assert np.array_equal(to_uint8_images(images.transpose(0, 3, 1, 2)), images)
    assert np.array_equal(to_uint8_images(images[..., :1].transpose(0, 3, 1, 2), (4, 5)), images[..., :1])
    narrow = np.arange(2 * 3 * 5 * 3, dtype=np.uint8).reshape(2, 3, 5, 3)
    assert np.array_equal(to_uint8_images(narrow), narrow)  # channels are last wherever they can be


def test_rows_of_a_table_become_images() -> None:
    table = np.arange(2 * 12, dtype=np.uint8).reshape(2, 12)
    assert np.array_equal(to_uint8_images(table, (3, 4)), table.reshape(2, 3, 4, 1))
    assert np.array_equal(to_uint8_images(table, (2, 2, 3)), table.reshape(2, 2, 2, 3))


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((2, 12), {}, r"X is a table of shape \(2, 12\).*image_shape=\(H, W\)"),
        ((2, 16), {}, r"image_shape=\(4, 4\)"),
        ((2, 12), {"image_shape": (3, 3)}, r"n_features = 12, but image_shape=\(3, 3\) takes 9"),
        ((2, 12), {"image_shape": (12,)}, r"image_shape is \(12,\) but should be"),
        ((2, 3, 4), {"image_shape": (4, 3)}, r"X has images of \(3, 4\), but image_shape is \(4, 3\)"),
        ((2, 4, 4, 4), {}, r"X has shape \(2, 4, 4, 4\)"),
        ((2, 4, 4, 2), {}, r"X has shape \(2, 4, 4, 2\)"),
    ],
)
def test_other_shapes_are_refused(shape: tuple[int, ...], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_uint8_images(np.zeros(shape, np.uint8), **options)


@pytest.mark.parametrize(
    ("low", "high", "hint"),
    [(0.0, 200.0, "white=255"), (0.0, 16.0, "white=16"), (-0.5, 0.5, "from -0.5.*leave that out")],
)
def test_values_out_of_range_are_refused(low: float, high: float, hint: str) -> None:
    with pytest.raises(ValueError, match=rf"X has values .*{hint}"):
        to_uint8_images(np.linspace(low, high, 8).reshape(2, 2, 2))
