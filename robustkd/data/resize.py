"""Bring images to another size and number of channels."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

Pixels = NDArray[np.uint8]


def fit_images(images: Pixels, shape: tuple[int, int, int]) -> Pixels:
    """Images brought to other channels and another size, as `picture` would: (N, C, H, W) -> (N, *shape)."""
    from PIL import Image

    if images.shape[1:] == shape:
        return images
    made = np.empty((len(images), *shape), np.uint8)
    for row, pixels in enumerate(images):
        made[row] = fit_image(Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)), shape)
    return made


def fit_image(image: "Image.Image", shape: tuple[int, int, int]) -> Pixels:
    """The centre of a grey image or one in colour, scaled until it fills the shape: (C, H, W)."""
    from PIL import Image, ImageOps

    channels, height, width = shape
    filled = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)  # Pillow's bilinear averages as it shrinks
    pixels = np.asarray(filled.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)
