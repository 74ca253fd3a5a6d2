"""The same image twice: exactly, or nearly.

Exact: all pixels are equal. Near: two images are as alike as copies are, and the set has no such look-alikes by the dozen.

    x     the grey image at 32 pixels a side at most, between two Gaussian blurs: K(0.7) x - K(side / 12) x
    s     the largest correlation of x_i and x_j over moves by half a pixel and by one, each way
    e_i   1 - the correlation of x_i with its tenth nearest of (up to) a thousand images spread over the set
    near  1 - s < 0.05 min(e_i, e_j)

Without its coarse and its finest pattern an image keeps little of its brightness, its contrast and the marks of
compression. The bound moves with the set: two grey shirts of 28x28 are more alike than a photograph and its copy, so a
fixed one calls either too many or too few. The price: copies in groups larger than a hundredth of the set (than ten, in a
small set) shield one another.

No image is compared with all others. Candidates are neighbours in one of 32 orders by 32 random bits each (Indyk and Motwani
1998; as sorted prefixes: Bawa, Condie and Ganesan 2005) of a thumbnail of 8x8 in its 32 principal directions, so the time
grows as N log N. Found: copies through JPEG, enlarged again from 0.8 of their size, brighter, and in photographs moved by up
to a pixel. Not found: turned, mirrored and freely cropped ones; small pictures on an empty ground (digits, Fashion-MNIST) once
they are resized, and often once they are moved.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustkd import seeds
from robustkd.data.resize import Pixels
from robustkd.data.view import Labels

FloatArray = NDArray[np.float32]

MAX_SIDE, THUMBNAIL_SIDE, NUM_DIRECTIONS = 32, 8, 32
MIN_SIDE = 8  # a side of fewer pixels shows too little to tell a copy from a look-alike
NUM_ORDERS, BITS_PER_ORDER, MAX_RANK_DISTANCE = (
    32,
    32,
    3,
)  # how many orders, of how many bits, and how far apart in one still counts as beside
MIN_THUMBNAIL_SIMILARITY = 0.8  # what the thumbnails of a pair must agree by to be looked at closely
MAX_PARTNERS = 8  # how many of an image's candidates are
REFERENCE_SAMPLE, NEIGHBOUR_RANK = 1000, 10
RELATIVE_BOUND = 0.05
REFINEMENT_FACTOR = 5  # how far beyond the bound a move by half a pixel is still tried
WHOLE_PIXEL_SHIFTS = [(y, x) for y in (0, 2, 4) for x in (0, 2, 4)]
HALF_PIXEL_SHIFTS = [(y, x) for y in range(5) for x in range(5) if y % 2 or x % 2]
MIN_CONTRAST = 1.0  # grey levels: an image with less between the blurs shows nothing to compare
CHUNK_ROWS = 2048


class DuplicatePairs(NamedTuple):
    """Pairs of rows, the smaller first, each pair once and the most alike first."""

    left: Labels  # (m,)
    right: Labels  # (m,)
    alike: FloatArray  # (m,), s above


def find_constant_images(images: Pixels) -> NDArray[np.bool_]:
    """Which images have one value per channel throughout: (N,)."""
    flat = np.empty(len(images), bool)
    for start in range(0, len(images), CHUNK_ROWS):
        piece = images[start : start + CHUNK_ROWS]
        flat[start : start + CHUNK_ROWS] = (piece == piece[:, :, :1, :1]).all(axis=(1, 2, 3))
    return flat


def find_exact_copies(images: Pixels, rows: Labels) -> Labels:
    """For each of these rows the first of them whose pixels are all equal to its own: (n,).

    >>> find_exact_copies(np.array([3, 5, 3], np.uint8).reshape(3, 1, 1, 1), np.arange(3))
    array([0, 1, 0])
    """
    from hashlib import blake2b

    first: dict[bytes, int] = {}
    same = (first.setdefault(blake2b(images[row].tobytes(), digest_size=16).digest(), row) for row in rows.tolist())
    return np.fromiter(same, np.int64, len(rows))


def find_near_duplicates(images: Pixels, rows: Labels) -> DuplicatePairs:
    """Which of these rows are nearly the same image; no two of them should be exactly so."""
    nothing = DuplicatePairs(rows[:0], rows[:0], np.empty(0, np.float32))
    if len(rows) < 2 or min(images.shape[2:]) < MIN_SIDE:
        return nothing
    patterns, thumbs, strength = _extract_patterns(images, rows)
    clear = np.flatnonzero(strength >= MIN_CONTRAST)
    if len(clear) < 2:
        return nothing
    rows, patterns, thumbs = rows[clear], patterns[clear], thumbs[clear]
    left, right = _candidate_pairs(thumbs)
    alike = _max_correlation(patterns, left, right, WHOLE_PIXEL_SHIFTS)
    chosen = (
        1 - alike < REFINEMENT_FACTOR * RELATIVE_BOUND
    )  # no look-alike is farther than 1, or hardly: the rest need no closer look
    left, right, alike = left[chosen], right[chosen], alike[chosen]
    asked = np.unique([left, right])
    usual = np.ones(len(rows), np.float32)
    usual[asked] = _usual_distance(patterns, asked)
    bound = RELATIVE_BOUND * np.minimum(usual[left], usual[right])
    chosen = 1 - alike < REFINEMENT_FACTOR * bound
    left, right, alike, bound = left[chosen], right[chosen], alike[chosen], bound[chosen]
    alike = np.maximum(alike, _max_correlation(patterns, left, right, HALF_PIXEL_SHIFTS))
    chosen = 1 - alike < bound
    order = np.lexsort((right[chosen], left[chosen], -alike[chosen]))
    left, right, alike = left[chosen][order], right[chosen][order], alike[chosen][order]
    return DuplicatePairs(rows[left], rows[right], alike)


def _extract_patterns(images: Pixels, rows: Labels) -> tuple[NDArray[np.float16], FloatArray, FloatArray]:
    """The pattern between two blurs, (n, h, w) with sides of 32 at most; the thumbnail, (n, 64) of unit length; and the
    standard deviation of the pattern: (n,)."""
    height, width = images.shape[2:]
    h, w = min(height, MAX_SIDE), min(width, MAX_SIDE)
    down, across = _area_resize_matrix(height, h), _area_resize_matrix(width, w)
    small_down, small_across = _area_resize_matrix(h, THUMBNAIL_SIDE), _area_resize_matrix(w, THUMBNAIL_SIDE)
    patterns, thumbs = (
        np.empty((len(rows), h, w), np.float16),
        np.empty((len(rows), THUMBNAIL_SIDE * THUMBNAIL_SIDE), np.float32),
    )
    strength = np.empty(len(rows), np.float32)
    weights = np.array([0.299, 0.587, 0.114] if images.shape[1] == 3 else [1], np.float32)
    for start in range(0, len(rows), CHUNK_ROWS):
        piece = images[rows[start : start + CHUNK_ROWS]]
        grey = sum(weight * piece[:, channel] for channel, weight in enumerate(weights))
        grey = down @ grey @ across.T
        between = [
            _gaussian_blur_matrix(h, b) @ grey @ _gaussian_blur_matrix(w, b).T for b in (0.7, max(min(h, w) / 12, 1.4))
        ]
        pattern = between[0] - between[1]
        patterns[start : start + CHUNK_ROWS], strength[start : start + CHUNK_ROWS] = pattern, pattern.std(axis=(1, 2))
        thumbs[start : start + CHUNK_ROWS] = _normalise_rows(
            (small_down @ grey @ small_across.T).reshape(len(piece), -1)
        )
    return patterns, thumbs, strength


def _area_resize_matrix(n: int, k: int) -> FloatArray:
    """What brings n pixels to k by the mean over the length each covers: (k, n)."""
    edges = np.linspace(0, n, k + 1)
    cover = np.minimum(edges[1:, None], np.arange(n) + 1) - np.maximum(edges[:-1, None], np.arange(n))
    means: FloatArray = (cover.clip(0) * (k / n)).astype(np.float32)
    return means


def _gaussian_blur_matrix(n: int, sigma: float) -> FloatArray:
    """A Gaussian blur that sees no further than the edge: (n, n)."""
    weight = np.exp(-0.5 * ((np.arange(n)[:, None] - np.arange(n)) / sigma) ** 2)
    blur: FloatArray = (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)
    return blur


def _normalise_rows(x: FloatArray) -> FloatArray:
    """Each row less its mean, at unit length: (n, d) -> (n, d)."""
    x = x - x.mean(axis=1, keepdims=True)
    unit: FloatArray = x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-6)
    return unit


def _candidate_pairs(thumbs: FloatArray) -> tuple[Labels, Labels]:
    """Pairs that may be near: those side by side in some order, of each image the most alike."""
    points = _principal_components(thumbs)
    count, wide = points.shape
    draws = seeds.keys_to_uniform(
        seeds.row_keys(seeds.derive(0, "duplicates"), np.arange(NUM_ORDERS * wide * BITS_PER_ORDER))
    )
    planes = (draws - 0.5).astype(np.float32).reshape(NUM_ORDERS, wide, BITS_PER_ORDER)
    found, likeness = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for plane in planes:
        bits = np.packbits(points @ plane > 0, axis=1)
        order = np.argsort(bits.view(">u4").ravel().astype(np.uint32), kind="stable")
        for apart in range(1, min(MAX_RANK_DISTANCE, count - 1) + 1):
            one, other = order[:-apart], order[apart:]
            alike = np.einsum("nd,nd->n", points[one], points[other])
            likely = alike > MIN_THUMBNAIL_SIMILARITY
            low, high = np.minimum(one, other)[likely], np.maximum(one, other)[likely]
            found.append(low * count + high)
            likeness.append(alike[likely])
    pairs, where = np.unique(np.concatenate(found), return_index=True)
    left, right = pairs // count, pairs % count
    alike = np.concatenate(likeness)[where]
    chosen = _among_best_partners(left, alike) | _among_best_partners(right, alike)
    return left[chosen], right[chosen]


def _principal_components(thumbs: FloatArray) -> FloatArray:
    """Thumbnails in their principal directions, of which the strong are damped: (n, d) of unit length.

    Look-alikes then part, and copies stay together.
    """
    centred = thumbs - thumbs.mean(axis=0)
    variance, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    strongest = np.argsort(-variance)[:NUM_DIRECTIONS]
    damped = axes[:, strongest] / variance[strongest].clip(1e-6 * variance.max() + 1e-12) ** 0.25
    points: FloatArray = centred @ damped.astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True).clip(1e-6)
    return points


def _among_best_partners(member: Labels, alike: FloatArray) -> NDArray[np.bool_]:
    """Which pairs are among the most alike of their member: (m,)."""
    order = np.lexsort((-alike, member))
    counts = np.bincount(member)
    rank = np.arange(len(member)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = np.empty(len(member), bool)
    chosen[order] = rank < MAX_PARTNERS
    return chosen


def _max_correlation(
    patterns: NDArray[np.float16], left: Labels, right: Labels, moves: Sequence[tuple[int, int]]
) -> FloatArray:
    """The largest correlation of each pair over moves of one of the two, in halves of a pixel, (2, 2) being none: (m,)."""
    h, w = patterns.shape[1:]
    best = np.full(len(left), -1, np.float32)
    for start in range(0, len(left), CHUNK_ROWS):
        here = slice(start, start + CHUNK_ROWS)
        still = patterns[left[here], 1:-1, 1:-1].astype(np.float32)
        still = _normalise_rows(still.reshape(len(still), -1)).reshape(still.shape)
        moving = patterns[right[here]].astype(np.float32)
        for y, x in moves:
            moved = _crop_at_half_pixels(_crop_at_half_pixels(moving, y, h - 2, axis=1), x, w - 2, axis=2)
            product = np.einsum("nhw,nhw->n", still, moved)
            square = np.einsum("nhw,nhw->n", moved, moved) - moved.sum(axis=(1, 2)) ** 2 / moved[0].size
            best[here] = np.maximum(best[here], product / np.sqrt(square.clip(1e-6)))
    return best


def _crop_at_half_pixels(images: FloatArray, halves: int, count: int, axis: int) -> FloatArray:
    """So many rows (axis 1) or columns (axis 2) from so many halves of a pixel inside the edge."""
    low, odd = divmod(halves, 2)
    first, second = (images[:, i : i + count] if axis == 1 else images[:, :, i : i + count] for i in (low, low + odd))
    between: FloatArray = (first + second) * np.float32(0.5) if odd else first
    return between


def _usual_distance(patterns: NDArray[np.float16], rows: Labels) -> FloatArray:
    """How far each of these rows is from its tenth nearest of a sample of the others: (len(rows),)."""
    spread = np.unique(np.linspace(0, len(patterns) - 1, REFERENCE_SAMPLE).astype(np.int64))
    sample = _normalise_rows(patterns[spread].reshape(len(spread), -1).astype(np.float32))
    tenth = min(NEIGHBOUR_RANK, len(spread) - 1)
    usual = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), CHUNK_ROWS):
        here = rows[start : start + CHUNK_ROWS]
        alike = _normalise_rows(patterns[here].reshape(len(here), -1).astype(np.float32)) @ sample.T
        alike[here[:, None] == spread] = -1  # an image is no look-alike of itself
        usual[start : start + CHUNK_ROWS] = 1 - np.partition(alike, -tenth, axis=1)[:, -tenth]
    return usual
