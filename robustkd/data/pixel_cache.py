"""A cache of large arrays of images, converted once to uint8 (N, C, H, W) and memory-mapped."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib.format import open_memmap

from robustkd.data.image_cache import read_record, require_free_space, scratch_dir, write_record
from robustkd.data.resize import Pixels
from robustkd.hashing import digest

PIXELS_VERSION = 2  # part of every key: increase it when conversion gives other pixels


class ConvertedPixels(NamedTuple):
    """Converted images, with the digest of their values, or an empty one if it is unknown, and notes on the conversion."""

    images: Pixels
    digest: str
    notes: tuple[str, ...]


def load_pixels(folder: Path, content: str) -> ConvertedPixels | None:
    """Return the images in a cache folder, None if they are not there, or are damaged.

    Args:
        folder: the cache folder.
        content: identifies the arrays that were converted.
    """
    images, record_file = _cache_files(folder, content)
    record = read_record(images, record_file)
    if record is None:
        return None
    return ConvertedPixels(np.load(images, mmap_mode="r"), record["digest"], tuple(record["notes"]))


def store_pixels(
    folder: Path,
    content: str,
    shape: tuple[int, int, int, int],
    convert: Callable[[Pixels], object],
    notes: tuple[str, ...],
) -> ConvertedPixels:
    """Convert images into a cache folder.

    Args:
        folder: the cache folder.
        content: identifies the arrays that are converted.
        shape: (N, C, H, W).
        convert: fills an array of this shape.
        notes: stored with the images.

    Raises:
        UsageError: the folder is full or not writable.
    """
    images, record_file = _cache_files(folder, content)
    with scratch_dir(folder) as scratch:
        require_free_space(f"converting {shape[0]} images", folder, int(np.prod(shape)))
        pixels = open_memmap(Path(scratch, "pixels.npy"), "w+", np.uint8, shape)
        convert(pixels)
        pixels.flush()
        record = {"digest": digest(pixels), "notes": notes}
        write_record(Path(scratch, "record.json"), Path(scratch, "pixels.npy"), record)
        del pixels  # some systems cannot move a mapped file
        Path(scratch, "pixels.npy").replace(images)
        Path(scratch, "record.json").replace(record_file)  # last, since it makes the cache valid
    stored = load_pixels(folder, content)
    assert stored is not None
    return stored


def _cache_files(folder: Path, content: str) -> tuple[Path, Path]:
    key = digest(text=f"{PIXELS_VERSION} {content}")
    return folder / f"{key}.npy", folder / f"{key}.json"
