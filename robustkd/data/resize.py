"""Resize images and convert their channels."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

Pixels = NDArray[np.uint8]


def fit_images(images: Pixels, shape: tuple[int, int, int]) -> Pixels:
    """Fit each image to a shape, as `robustkd.data.decode.decode_image` does for a file: (N, C, H, W) -> (N, *shape)."""
    from PIL import Image

    if images.shape[1:] == shape:
        return images
    result = np.empty((len(images), *shape), np.uint8)
    for row, pixels in enumerate(images):
        result[row] = fit_image(Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)), shape)
    return result


def add_margin(side: int, crop_share: float) -> int:
    """Return the side of images of which networks see a share.

    >>> add_margin(224, 0.875), add_margin(32, 1)
    (256, 32)
    """
    return max(side, round(side / crop_share))


def fit_image(image: "Image.Image", shape: tuple[int, int, int]) -> Pixels:
    """Scale a greyscale or colour image until it fills a shape and crop it centrally: (C, H, W)."""
    from PIL import Image, ImageOps

    channels, height, width = shape
    fitted = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)  # antialiased when it reduces
    pixels = np.asarray(fitted.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)


def to_grey_or_colour(image: "Image.Image") -> "Image.Image":
    """Return an image of 8 bits per value in mode L or RGB; transparent pixels become white."""
    from PIL import Image

    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert("L" if image.mode in ("1", "L") else "RGB")
