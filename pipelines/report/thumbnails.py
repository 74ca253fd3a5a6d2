"""Images of a data set as small PNG files inside an HTML document."""

import base64
import io
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from robustkd.data.decode import decode_image
from robustkd.data.value_range import SIXTEEN_BITS
from robustkd.data.view import Source

THUMBNAIL_SIDE = 96  # pixels of a thumbnail that is decoded from its file


class Thumbnail(NamedTuple):
    """An image as a data URI.

    Attributes:
        is_small: whether it has the few pixels that networks see, which are to be enlarged without blurring.
    """

    uri: str
    is_small: bool


def make_thumbnail(source: Source, row: int) -> Thumbnail:
    """Return an image as a data URI.

    A file is decoded again at a larger size; where that is not possible, and for arrays, the source's own pixels are used.
    """
    pixels: NDArray[np.uint8] = np.asarray(source.images[row])
    larger = _decode_larger(source, row) if max(pixels.shape[1:]) < THUMBNAIL_SIDE else None
    shown = pixels if larger is None else larger
    image = Image.fromarray(shown[0] if len(shown) == 1 else np.ascontiguousarray(shown.transpose(1, 2, 0)))
    buffer = io.BytesIO()
    image.save(buffer, "png", optimize=True)
    return Thumbnail(f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}", larger is None)


def _decode_larger(source: Source, row: int) -> NDArray[np.uint8] | None:
    if source.files is None or source.root is None:
        return None
    try:
        return decode_image(
            source.root / source.files[row], THUMBNAIL_SIDE, source.shape[0], source.value_range or SIXTEEN_BITS
        )
    except (OSError, ValueError, SyntaxError):  # moved since, or of a format that Pillow now refuses
        return None
