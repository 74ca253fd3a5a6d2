"""Arrays of images in several forms, converted to uint8 (N, C, H, W)."""

from typing import Any

import numpy as np
import pytest

from robustkd.data import pixel_formats
from robustkd.data.pixel_formats import convert_pixels, detect_format
from robustkd.errors import UsageError

PIXELS = np.random.default_rng(0).integers(0, 256, (7, 3, 4, 5), dtype=np.uint8)
PIXELS[0, 0, 0, :2] = 0, 255


def convert(*arrays: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    named = {f"X{number}": array for number, array in enumerate(arrays)}
    return convert_pixels(named, detect_format(named))


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("block", [1, 150, 1 << 24])
@pytest.mark.parametrize(
    "change",
    [
        lambda pixels: pixels,
        lambda pixels: pixels.astype(np.int64),
        lambda pixels: pixels.astype(np.uint16),
        lambda pixels: pixels.astype(np.float32),
        lambda pixels: pixels / np.float32(255),
        lambda pixels: pixels / 255,
        lambda pixels: (pixels / 255).astype(">f8"),
    ],
)
def test_every_form_gives_the_same_pixels(
    first: bool, block: int, change: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixel_formats, "BLOCK_BYTES", block)
    array = change(PIXELS if first else PIXELS.transpose(0, 2, 3, 1))
    converted = convert(array[:4], array[4:])
    assert converted.dtype == np.uint8
    np.testing.assert_array_equal(converted, PIXELS)


def test_grey_and_black_and_white() -> None:
    np.testing.assert_array_equal(convert(PIXELS[:, 0])[:, 0], PIXELS[:, 0])
    np.testing.assert_array_equal(convert(PIXELS[:, :1])[:, 0], PIXELS[:, 0])
    np.testing.assert_array_equal(convert(PIXELS[:, 0] > 100)[:, 0], np.where(PIXELS[:, 0] > 100, 255, 0))


def test_a_mapped_array_is_not_copied(tmp_path: Any) -> None:
    np.save(tmp_path / "a.npy", PIXELS.transpose(0, 2, 3, 1))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert np.shares_memory(convert(mapped), mapped)
    assert convert(PIXELS.transpose(0, 2, 3, 1)).flags.c_contiguous


def test_the_range_of_all_arrays_decides() -> None:
    dark, bright = np.zeros((2, 4, 4)), np.full((2, 4, 4), 200.0)
    assert convert(dark, bright).max() == 200
    assert convert(dark, bright / 200).max() == 255


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([PIXELS[:, :2]], r"X0 has shape \(7, 2, 4, 5\)"),
        ([PIXELS[0, 0]], r"X0 has shape \(4, 5\)"),
        ([PIXELS[:0]], r"X0 has shape \(0, 3, 4, 5\)"),
        ([PIXELS, PIXELS / 255], "X1 is float64, but X0 is uint8"),
        ([PIXELS / 255 * 2 - 1], "X0: float64 from -1 to 1"),
        ([PIXELS / 100], "X0: float64 from 0 to 2.55"),
        ([PIXELS * np.uint16(16)], "X0: uint16 from 0 to 4080"),
        ([PIXELS.astype(complex)], "X0 is complex128"),
        ([np.where(PIXELS == 0, np.inf, 0)], "X0 contains values that are not finite"),
    ],
)
def test_other_arrays_are_refused(arrays: list[np.ndarray[Any, Any]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        convert(*arrays)
