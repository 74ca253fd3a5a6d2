"""Augmentation of whole batches: random shifts and mirroring of each image, without a loop over images."""

import torch
import torch.nn.functional as F
from torch import Tensor


def max_shift(size: int) -> int:
    """Return the largest shift of an image of this side in pixels: 4 for 32, as in the CIFAR protocols.

    >>> max_shift(32), max_shift(8)
    (4, 1)
    """
    return max(1, size // 8)


def shift(images: Tensor, offsets: Tensor, pad: int) -> Tensor:
    """Zero-pad by `pad` on every side and crop each image at its own offset.

    Args:
        images: (B, H, W, C), any dtype.
        offsets: (B, 2) int64, rows and columns in 0 to 2 pad; (pad, pad) leaves an image unchanged.
        pad: pixels.

    Returns:
        (B, H, W, C).
    """
    _, h, w, _ = images.shape
    padded = F.pad(images, (0, 0, pad, pad, pad, pad))
    crops = padded.unfold(1, h, 1).unfold(2, w, 1)  # every crop of every image, a view: (B, 2p+1, 2p+1, C, H, W)
    rows = torch.arange(len(images), device=images.device)
    return crops.permute(0, 1, 2, 4, 5, 3)[rows, offsets[:, 0], offsets[:, 1]]


def mirror(images: Tensor, flipped: Tensor) -> Tensor:
    """Mirror the selected images left to right: (B, H, W, C), (B,) bool -> (B, H, W, C)."""
    return torch.where(flipped[:, None, None, None], images.flip(2), images)
