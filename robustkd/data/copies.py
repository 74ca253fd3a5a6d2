"""Find rows with identical pixels.

The images are first compared by a number each, h = sum_k w_k x_k mod 2^64 over their bytes in words x_k of 64 bits, with fixed
random odd weights w_k. Only images that share this number with another one are compared by a cryptographic digest, so the cost
is little more than that of reading the pixels.

An image of a single colour shows nothing, and is a copy of nothing: a hundred black images are not one image a hundred times.
"""

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from robustkd import seeds
from robustkd.data.resize import Pixels

CHUNK_BYTES = 1 << 20  # pixels read at once; a larger chunk leaves the processor's cache


def find_constant_images(images: Pixels) -> NDArray[np.bool_]:
    """Return a mask of the images that have a single value per channel: (N, C, H, W) -> (N,)."""
    constant = np.empty(len(images), bool)
    step = _rows_per_chunk(images)
    for start in range(0, len(images), step):
        chunk = images[start : start + step]
        constant[start : start + step] = (chunk == chunk[:, :, :1, :1]).all(axis=(1, 2, 3))
    return constant


def find_exact_copies(images: Pixels, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first of the given rows with the same pixels as each of them: (n,) -> (n,).

    A row of a single colour is its own first.

    >>> pixels = np.array([[3, 4], [5, 6], [3, 4], [7, 7], [7, 7]], np.uint8).reshape(5, 1, 1, 2)
    >>> find_exact_copies(pixels, np.arange(5))
    array([0, 1, 0, 3, 4])
    """
    first = rows.copy()
    _, where, count = np.unique(_weighted_sums(images, rows), return_inverse=True, return_counts=True)
    candidates = np.flatnonzero(count[where] > 1)
    seen: dict[bytes, int] = {}
    for place, row in zip(candidates.tolist(), rows[candidates].tolist(), strict=True):
        image = images[row]
        if (image != image[:, :1, :1]).any():
            first[place] = seen.setdefault(blake2b(image.tobytes(), digest_size=16).digest(), row)
    return first


def _weighted_sums(images: Pixels, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return h above for the given rows: (n,)."""
    size = int(np.prod(images.shape[1:]))
    weights = seeds.row_keys(seeds.derive(0, "copies"), np.arange(-(-size // 8))) | np.uint64(1)
    sums = np.empty(len(rows), np.uint64)
    step = _rows_per_chunk(images)
    for start in range(0, len(rows), step):
        pixels = images[rows[start : start + step]].reshape(-1, size)
        words = np.ascontiguousarray(np.pad(pixels, ((0, 0), (0, -size % 8)))).view(np.uint64)
        sums[start : start + step] = words @ weights
    return sums


def _rows_per_chunk(images: Pixels) -> int:
    return max(1, CHUNK_BYTES // max(1, int(np.prod(images.shape[1:]))))
