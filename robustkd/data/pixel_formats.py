"""Arrays of images in the forms that people store them in, converted to uint8 (N, C, H, W).

Grey or colour, channels last or first; integers from 0 to 255, floats from 0 to 1 or from 0 to 255, booleans. Arrays are read
in blocks, so that memory-mapped ones are never loaded whole.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustkd.data.resize import Pixels
from robustkd.errors import UsageError

BLOCK_BYTES = 1 << 24
BRIGHT = (
    127  # floats are taken as 0 to 255 if one exceeds this; below it, they may be 0 to 1 with values beyond the range
)


class PixelFormat(NamedTuple):
    """How arrays of images are converted."""

    channels_first: bool
    shape: tuple[int, int, int]  # of an image: (C, H, W)
    factor: float  # that values are multiplied by
    notes: tuple[str, ...]  # what was recognised


def detect_format(arrays: Mapping[str, NDArray[Any]]) -> PixelFormat:
    """Return how the arrays of a data set are converted.

    Args:
        arrays: by their names, for error messages: (N, H, W), (N, H, W, C) or (N, C, H, W) each; C is 1 or 3.

    Raises:
        UsageError: an array has another shape, the arrays differ in shape or layout, or a value is out of range. The message
            lacks the data set's name.
    """
    notes = []
    layouts = {name: _detect_layout(name, array.shape) for name, array in arrays.items()}
    (first, (channels_first, shape)), *others = layouts.items()
    for name, (_, other) in others:
        if other != shape:
            raise UsageError(f"{name} has images of {other} but {first} of {shape} (C, H, W)")
    if different := [name for name, (other, _) in others if other != channels_first]:
        raise UsageError(f"{first} and {different[0]} differ in where the channels are: let both be (N, H, W, C)")
    kinds = {name: str(array.dtype) for name, array in arrays.items()}
    if unequal := [name for name in kinds if kinds[name] != kinds[first]]:
        raise UsageError(f"{unequal[0]} is {kinds[unequal[0]]}, but {first} is {kinds[first]}")
    named, kind = " and ".join(arrays), kinds[first]
    if channels_first:
        notes.append(f"{named}: taken as (N, C, H, W), channels first")
    if kind == "uint8":
        return PixelFormat(channels_first, shape, 1, tuple(notes))
    low, high = _value_range(arrays)
    if not (low >= 0 and (high <= 1 or BRIGHT < high <= 255)):
        raise UsageError(
            f"{named}: {kind} from {low:g} to {high:g}, but values must be from 0 to 1 or from 0 to 255:"
            " convert them to uint8"
        )
    factor = 255 if high <= 1 else 1
    notes.append(f"{named}: {kind} taken as {'0 to 1' if factor > 1 else '0 to 255'} and stored as uint8")
    return PixelFormat(channels_first, shape, factor, tuple(notes))


def convert_pixels(arrays: Mapping[str, NDArray[Any]], form: PixelFormat, out: Pixels | None = None) -> Pixels:
    """Convert arrays of images, and join them in their order: (N, C, H, W).

    A single memory-mapped array of uint8 is returned as a view of itself.
    """
    if out is None and len(arrays) == 1:
        (only,) = arrays.values()
        if only.dtype == np.uint8:
            view = _channels_first(only, form)
            return view if isinstance(only, np.memmap) else np.ascontiguousarray(view)
    if out is None:
        out = np.empty((sum(map(len, arrays.values())), *form.shape), np.uint8)
    start = 0
    for array in arrays.values():
        for block in _blocks(array):
            values = _channels_first(block, form)
            if block.dtype != np.uint8:
                values = np.rint(values * form.factor) if form.factor > 1 or block.dtype.kind == "f" else values
            out[start : start + len(block)] = values
            start += len(block)
    return out


def _detect_layout(name: str, shape: tuple[int, ...]) -> tuple[bool, tuple[int, int, int]]:
    """Return whether channels are first, and the shape of an image: (C, H, W)."""
    if 0 not in shape and len(shape) == 3:
        return False, (1, *shape[1:])
    if 0 not in shape and len(shape) == 4 and shape[3] in (1, 3):
        return False, (shape[3], *shape[1:3])
    if 0 not in shape and len(shape) == 4 and shape[1] in (1, 3):
        return True, (shape[1], *shape[2:])
    raise UsageError(f"{name} has shape {shape}, but must be (N, H, W), (N, H, W, C) or (N, C, H, W) with C of 1 or 3")


def _channels_first(images: NDArray[Any], form: PixelFormat) -> NDArray[Any]:
    """Return a view in the order (N, C, H, W)."""
    if form.channels_first:
        return images
    return images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)


def _value_range(arrays: Mapping[str, NDArray[Any]]) -> tuple[float, float]:
    """Return the smallest and largest value.

    Raises:
        UsageError: the values are no numbers, or are not finite.
    """
    low, high = np.inf, -np.inf
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise UsageError(f"{name} is {array.dtype}, but must be integers from 0 to 255 or floats from 0 to 1")
        for block in _blocks(array):
            low, high = min(low, float(block.min())), max(high, float(block.max()))
            if not (np.isfinite(block.min()) and np.isfinite(block.max())):
                raise UsageError(f"{name} contains values that are not finite")
    return low, high


def _blocks(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield consecutive rows, a few megabytes at a time."""
    rows = max(1, BLOCK_BYTES // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows):
        yield array[start : start + rows]
