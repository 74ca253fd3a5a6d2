"""The first augmentation of training images: it cuts what networks see out of the stored images, as whole batches.

    none     the central crop, as in evaluation
    shift    a crop at a random offset, mirrored at random
    photo    robustkd.data.photo

Every image is augmented by its own random numbers, without a loop over images.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from robustkd.data.augmentations import AUGMENTERS, augment_text

Shape = tuple[int, int, int]  # (C, H, W)


class Augmenter(Protocol):
    """What `--augment` names. The random numbers of an epoch are drawn at once, so that a step involves no randomness."""

    def draw(self, count: int, shape: Shape, generator: torch.Generator) -> Tensor:
        """Draw the random numbers for images that networks see in a shape (C, H, W), on the CPU: (count, any)."""
        ...

    def apply(self, images: Tensor, drawn: Tensor, shape: Shape, flips: bool) -> Tensor:
        """Augment images by their random numbers.

        Args:
            images: (B, h, w, C) uint8 as stored, at least as large as the shape.
            drawn: (B, any).
            shape: (C, H, W).
            flips: whether images may be mirrored.

        Returns:
            (B, H, W, C) uint8.
        """
        ...


def parse_augment(augment: str | bool) -> Augmenter:
    """Return the augmenter of a name with parameters, as in photo(crop=0.5); True stands for shift, False for none.

    Raises:
        UsageError: the name is unknown, or a parameter is wrong.
    """
    spec = AUGMENTERS.parse(augment_text(augment))
    augmenter: Augmenter = spec.load()(**spec.kwargs())
    return augmenter


class Centre:
    """The central crop; nothing is random."""

    def draw(self, count: int, shape: Shape, generator: torch.Generator) -> Tensor:
        return torch.empty(count, 0)

    def apply(self, images: Tensor, drawn: Tensor, shape: Shape, flips: bool) -> Tensor:
        return crop_centre(images, shape)


class Shift:
    """A crop that is shifted by up to an eighth of its side, mirrored with probability 1/2.

    What lies outside the stored image is black. Without a margin, this is zero-padding and random cropping, as for CIFAR.
    """

    def draw(self, count: int, shape: Shape, generator: torch.Generator) -> Tensor:
        offsets = torch.randint(0, 2 * max_shift(min(shape[1:])) + 1, (count, 2), generator=generator)
        flipped = torch.rand(count, 1, generator=generator) < 0.5
        return torch.cat([offsets, flipped.long()], dim=1)

    def apply(self, images: Tensor, drawn: Tensor, shape: Shape, flips: bool) -> Tensor:
        images = crop_shifted(images, drawn[:, :2], shape, max_shift(min(shape[1:])))
        return mirror(images, drawn[:, 2] > 0) if flips else images


def max_shift(size: int) -> int:
    """Return the largest shift of an image of this side in pixels: 4 for 32, as in the CIFAR protocols.

    >>> max_shift(32), max_shift(8)
    (4, 1)
    """
    return max(1, size // 8)


def crop_centre(images: Tensor, shape: Shape) -> Tensor:
    """Cut the centre out of each image: (B, h, w, C) -> (B, H, W, C), a view; images of that size are returned unchanged."""
    (_, height, width), (h, w) = shape, images.shape[1:3]
    top, left = (h - height) // 2, (w - width) // 2
    return images[:, top : top + height, left : left + width]


def crop_shifted(images: Tensor, offsets: Tensor, shape: Shape, limit: int) -> Tensor:
    """Cut a shape out of each image at its own offset; pixels from outside the image are zero.

    Args:
        images: (B, h, w, C), any dtype.
        offsets: (B, 2) int64, rows and columns in 0 to 2 limit; (limit, limit) is the central crop.
        shape: (C, H, W), at most (C, h, w).
        limit: largest shift, in pixels.

    Returns:
        (B, H, W, C).
    """
    (_, height, width), (h, w) = shape, images.shape[1:3]
    top, left = (h - height) // 2, (w - width) // 2  # of the central crop
    rows, columns = max(0, limit - top), max(0, limit - left)
    # The last row that a crop needs is top + limit + height - 1.
    below, right = max(0, top + limit + height - h), max(0, left + limit + width - w)
    padded = F.pad(images, (0, 0, columns, right, rows, below))
    crops = padded.unfold(1, height, 1).unfold(2, width, 1)  # every crop of every image, a view: (B, ., ., C, H, W)
    index = torch.arange(len(images), device=images.device)
    down, across = offsets[:, 0] + (top - limit + rows), offsets[:, 1] + (left - limit + columns)
    return crops.permute(0, 1, 2, 4, 5, 3)[index, down, across]


def mirror(images: Tensor, flipped: Tensor) -> Tensor:
    """Mirror the selected images left to right: (B, H, W, C), (B,) bool -> (B, H, W, C)."""
    return torch.where(flipped[:, None, None, None], images.flip(2), images)
