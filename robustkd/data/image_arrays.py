"""Arrays as scikit-learn passes them, converted to images."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustkd.types import Positive, validate

NORMALISED = ": if a transform normalises them, leave that out, since networks normalise images themselves"


def to_uint8_images(
    X: NDArray[Any],  # noqa: N803  # scikit-learn's name
    image_shape: tuple[int, ...] | None = None,
    white: float | None = None,
) -> NDArray[np.uint8]:
    """Convert an array to images: (n, H, W), (n, H, W, C), (n, C, H, W) or (n, features) -> (n, H, W, C) uint8.

    Args:
        X: uint8 and other integers from 0 to 255, floats from 0 to 1, booleans.
        image_shape: (H, W) or (H, W, C) of a row of a table.
        white: the value that is white, where it is another one.

    Raises:
        ValueError: the shape is not that of images, or a value is outside its range.
    """
    images = _reshape_to_images(X, image_shape)
    if images.shape[-1] not in (1, 3):
        raise ValueError(f"X has shape {X.shape}, but (n, H, W), (n, H, W, 1 or 3) or (n, 1 or 3, H, W) is wanted")
    if images.dtype == np.uint8 and white is None:
        return images
    brightest: float = {"b": 1.0, "i": 255.0, "u": 255.0}.get(images.dtype.kind, 1.0)
    if white is not None:
        brightest = validate("white", Positive, white)
    low, high = float(images.min()), float(images.max())
    if low < 0 or high > brightest:
        suggestion = 255 if 127 < high <= 255 else high
        hint = f": white={suggestion:g} would say which value is white" if low >= 0 else NORMALISED
        raise ValueError(f"X has values from {low:g} to {high:g}, but values from 0 to {brightest:g} are wanted{hint}")
    return np.rint(images * (255 / brightest)).astype(np.uint8)


def _reshape_to_images(X: NDArray[Any], image_shape: tuple[int, ...] | None) -> NDArray[Any]:  # noqa: N803
    """Bring rows of a table and grey images to (n, H, W, C)."""
    shape = None if image_shape is None else tuple(image_shape)
    if shape is not None and (len(shape) not in (2, 3) or not all(int(side) == side > 0 for side in shape)):
        raise ValueError(f"image_shape is {image_shape!r} but should be (H, W) or (H, W, C)")
    if X.ndim == 2:
        if shape is None:
            side = round(X.shape[1] ** 0.5)
            raise ValueError(
                f"X is a table of shape {X.shape}, but images of shape (n, H, W) or (n, H, W, C) are wanted; image_shape="
                f"{(side, side) if side * side == X.shape[1] else '(H, W)'} would make an image of every row"
            )
        if int(np.prod(shape)) != X.shape[1]:
            raise ValueError(f"X has n_features = {X.shape[1]}, but image_shape={shape} takes {int(np.prod(shape))}")
        X = X.reshape(len(X), *shape)
    images = channels_last(X)
    if shape is not None and (*shape, 1)[:3] != images.shape[1:]:
        raise ValueError(f"X has images of {X.shape[1:]}, but image_shape is {shape}")
    return images


def channels_last(images: NDArray[Any]) -> NDArray[Any]:
    """Bring images to (n, H, W, C): from (n, H, W), or from (n, C, H, W) where only that axis can be the channels.

    >>> channels_last(np.zeros((5, 3, 8, 8))).shape, channels_last(np.zeros((5, 8, 8))).shape
    ((5, 8, 8, 3), (5, 8, 8, 1))
    """
    if images.ndim == 3:
        return images[..., None]
    first = images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[-1] not in (1, 3)
    return images.transpose(0, 2, 3, 1) if first else images
