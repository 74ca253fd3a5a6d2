"""Images of more than 8 bits per value: microscopy, X-ray and CT, as 16-bit PNG and TIFF, signed, 32-bit or floating point.

Cameras fill 10, 12 or 14 of the 16 bits that a file has, so the upper 8 bits may hold only a few levels. All such images of a
data set are therefore scaled by one range: the smallest power of two that holds all of their values. What is trained on them
is given images of the same scale later, because the range is stored with the network.
"""

import math
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustkd.data.resize import Pixels
from robustkd.errors import UsageError

if TYPE_CHECKING:
    from PIL import Image

# How Pillow unpacks 16-bit colour to the upper 8 bits, and what gives the lower 8: it swaps the bytes of each value.
_NATIVE_SWAPPED = "16B" if sys.byteorder == "little" else "16L"
_LOWER_BYTES = {
    f"{bands};{packing}": f"{bands};{swapped}"
    for bands in ("RGB", "RGBA")
    for packing, swapped in {"16B": "16L", "16L": "16B", "16N": _NATIVE_SWAPPED}.items()
}
# Pillow cannot swap the bytes of grey with alpha, but it can return all four bytes.
_ALL_BYTES = {"LA;16B": "RGBA"}


class ValueRange(NamedTuple):
    """The values that become black and, exclusively, white."""

    low: float
    high: float

    @classmethod
    def parse(cls, text: str) -> "ValueRange":
        """Return the range that a text gives as its lowest and highest value.

        Raises:
            UsageError: these are not two numbers in ascending order.

        >>> ValueRange.parse("0,4095"), ValueRange.parse("-0.5, 1")
        (ValueRange(low=0.0, high=4096.0), ValueRange(low=-0.5, high=1.0))
        """
        try:
            low, high = (float(part) for part in text.split(","))
        except ValueError:
            low, high = math.nan, math.nan
        if not (math.isfinite(high - low) and low < high):
            raise UsageError(f"--value-range {text}: it takes the lowest and the highest value, as in 0,4095")
        return cls(low, high + (low.is_integer() and high.is_integer() and high - low >= 255))

    def to_uint8(self, values: NDArray[Any]) -> Pixels:
        """Scale values to 0 to 255; values outside the range become black or white.

        >>> ValueRange(0, 4096).to_uint8(np.array([0, 15, 16, 4095, 5000]))
        array([  0,   0,   1, 255, 255], dtype=uint8)
        """
        scaled = (values.astype(np.float64) - self.low) * (256 / (self.high - self.low))
        return np.clip(scaled, 0, 255).astype(np.uint8)

    def describe(self) -> str:
        """Describe how values are scaled.

        >>> ValueRange(0, 4096).describe(), ValueRange(-1, 1).describe()
        ('their values from 0 to 4095 are scaled to 8 bits', 'their values from -1 to 1 are scaled to 8 bits')
        """
        return "their values from {} to {} are scaled to 8 bits".format(*self.limits())

    def limits(self) -> tuple[str, str]:
        """Return the lowest and the highest value, as `parse` takes them."""
        return f"{self.low:.10g}", f"{self.high - 1 if self.high - self.low >= 256 else self.high:.10g}"


SIXTEEN_BITS = ValueRange(0, 1 << 16)  # the range of images on their own


class Extent(NamedTuple):
    """The lowest and highest value of an image."""

    low: float
    high: float
    integers: bool


class UnknownRangeError(Exception):
    """An image has more than 8 bits per value, and the range by which to scale them is not known yet.

    Attributes:
        extent: of its values.
    """

    def __init__(self, extent: Extent) -> None:
        super().__init__("its values have more than 8 bits")
        self.extent = extent


def fit_range(extents: Iterable[Extent]) -> ValueRange:
    """Return the smallest range that holds all values: from 0, or from -2**k if any is negative, to 2**k.

    Integers have at least 8 bits.

    >>> fit_range([Extent(3, 900, True), Extent(0, 4095, True)]), fit_range([Extent(-1024, 3071, True)])
    (ValueRange(low=0, high=4096), ValueRange(low=-4096, high=4096))
    >>> fit_range([Extent(0.0, 1.0, False)]), fit_range([Extent(0, 7, True)])
    (ValueRange(low=0, high=1.0), ValueRange(low=0, high=256))
    """
    known = list(extents)
    integers = all(extent.integers for extent in known)
    low = min(extent.low for extent in known)
    # The upper end is exclusive for integers only: the largest 12-bit value is 4095, but that of fractions is 1.0.
    largest = max(-low, *(extent.high + extent.integers for extent in known))
    power = math.ceil(math.log2(largest)) if largest > 0 else 0
    high: float = 1 << max(power, 8 - (low < 0)) if integers else 2.0**power
    return ValueRange(-high if low < 0 else 0, high)


def scale_values(values: NDArray[Any], value_range: ValueRange | None) -> Pixels:
    """Scale the values of an image to 8 bits.

    Raises:
        ValueError: they are not finite.
        UnknownRangeError: no range is given.
    """
    low, high = values.min(), values.max()
    if not np.isfinite([low, high]).all():
        raise ValueError("some of its values are not numbers")
    if value_range is None:
        raise UnknownRangeError(Extent(low.item(), high.item(), values.dtype.kind != "f"))
    return value_range.to_uint8(values)


def packing_of(opened: "Image.Image") -> str | None:
    """Return how an opened file packs colours of 16 bits, None if it does not, or in a way of which Pillow keeps 8 bits."""
    packings = {args if isinstance(args, str) else args[0] for *_, args in getattr(opened, "tile", ()) if args}
    packing = packings.pop() if len(packings) == 1 else None
    return packing if packing in _LOWER_BYTES or (packing in _ALL_BYTES and opened.mode == "RGBA") else None


def select_lower_bytes(opened: "Image.Image", packing: str) -> None:
    """Let Pillow unpack the lower 8 bits of each value of an opened file, or all bytes of grey with alpha."""
    packing = {**_LOWER_BYTES, **_ALL_BYTES}[packing]
    tiles: Any = opened
    tiles.tile = [(*place, packing if isinstance(args, str) else (packing, *args[1:])) for *place, args in tiles.tile]


def join_bytes(
    upper: "Image.Image", lower: "Image.Image", packing: str, value_range: ValueRange | None
) -> "Image.Image":
    """Return a colour image scaled to 8 bits, from the upper and lower 8 bits of its values; alpha keeps its upper 8 bits.

    Raises:
        UnknownRangeError: no range is given.
    """
    from PIL import Image

    high, low = np.asarray(upper), np.asarray(lower)
    colours = low[..., 1:2] if packing in _ALL_BYTES else low[..., :3]
    values = high[..., :3].astype(np.uint16) << 8 | colours
    scaled = scale_values(values, value_range)
    return Image.fromarray(np.concatenate([scaled, high[..., 3:]], axis=-1))
