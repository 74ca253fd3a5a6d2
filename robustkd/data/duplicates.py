"""Find near duplicates: two images that are as similar as copies are, where the data set does not contain many images that
similar to either. Identical images are found by robustkd.data.copies.

    x     the greyscale image, at most 32 pixels a side, between two Gaussian blurs: K(0.7) x - K(side / 12) x
    s     the largest correlation of x_i and x_j over shifts by half a pixel and one pixel in each direction
    e_i   1 - the correlation of x_i with its tenth nearest in a sample of (up to) a thousand images of the data set
    near  1 - s < 0.05 min(e_i, e_j)

Without its coarsest and finest structure, an image depends little on its brightness, contrast and compression artefacts. The
bound is relative to the data set: two grey shirts of 28x28 are more similar than a photograph and its copy, so a fixed bound
reports either too many pairs or too few. The drawback: copies in groups larger than a hundredth of the data set (than ten, in a
small one) are not found, since they are each other's nearest images.

Images are not compared exhaustively. Candidates are neighbours in one of 32 orders by 32 random bits each (Indyk and Motwani
1998; as sorted prefixes: Bawa, Condie and Ganesan 2005) of a thumbnail of 8x8 in its 32 principal directions, so the time
grows as N log N. Found: copies compressed as JPEG, enlarged again from 0.8 of their size, brightened, and in photographs
shifted by up to a pixel. Not found: rotated, mirrored and freely cropped copies; small objects on an empty background (digits,
Fashion-MNIST) if they were resized, and often if they were shifted.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustkd import seeds
from robustkd.data.resize import Pixels
from robustkd.data.view import Labels

Float32Array = NDArray[np.float32]

MAX_SIDE, THUMBNAIL_SIDE, NUM_DIRECTIONS = 32, 8, 32
MIN_IMAGE_SIDE = 8  # smaller images show too little to distinguish copies from similar images
# Number of orders, of bits for each, and largest distance in an order between candidates.
NUM_ORDERS, BITS_PER_ORDER, MAX_RANK_DISTANCE = 32, 32, 3
MIN_THUMBNAIL_SIMILARITY = 0.8  # correlation of two thumbnails from which a pair is compared at full resolution
MAX_PARTNERS = 8  # number of an image's candidate pairs that are compared
REFERENCE_SAMPLE, NEIGHBOUR_RANK = 1000, 10
RELATIVE_BOUND = 0.05
REFINEMENT_FACTOR = 5  # pairs within this multiple of the bound are also compared at half-pixel shifts
WHOLE_PIXEL_SHIFTS = [(y, x) for y in (0, 2, 4) for x in (0, 2, 4)]  # in half pixels; (2, 2) is no shift
HALF_PIXEL_SHIFTS = [(y, x) for y in range(5) for x in range(5) if y % 2 or x % 2]
MIN_CONTRAST = 1.0  # grey levels: an image with a smaller standard deviation between the blurs is not compared
CHUNK_ROWS = 2048


class DuplicatePairs(NamedTuple):
    """Pairs of rows, each once with the smaller row first, sorted by decreasing similarity."""

    left: Labels  # (m,)
    right: Labels  # (m,)
    similarity: Float32Array  # (m,), s above


def find_near_duplicates(images: Pixels, rows: Labels) -> DuplicatePairs:
    """Return the pairs of near duplicates among the given rows (n,), which should not contain exact duplicates."""
    no_pairs = DuplicatePairs(rows[:0], rows[:0], np.empty(0, np.float32))
    if len(rows) < 2 or min(images.shape[2:]) < MIN_IMAGE_SIDE:
        return no_pairs
    patterns, thumbs, contrast = _extract_patterns(images, rows)
    clear = np.flatnonzero(contrast >= MIN_CONTRAST)
    if len(clear) < 2:
        return no_pairs
    rows, patterns, thumbs = rows[clear], patterns[clear], thumbs[clear]
    left, right = _candidate_pairs(thumbs)
    similarity = _max_correlation(patterns, left, right, WHOLE_PIXEL_SHIFTS)
    chosen = 1 - similarity < REFINEMENT_FACTOR * RELATIVE_BOUND  # usual distances hardly exceed 1
    left, right, similarity = left[chosen], right[chosen], similarity[chosen]
    members = np.unique([left, right])
    usual = np.ones(len(rows), np.float32)
    usual[members] = _usual_distance(patterns, members)
    bound = RELATIVE_BOUND * np.minimum(usual[left], usual[right])
    chosen = 1 - similarity < REFINEMENT_FACTOR * bound
    left, right, similarity, bound = left[chosen], right[chosen], similarity[chosen], bound[chosen]
    similarity = np.maximum(similarity, _max_correlation(patterns, left, right, HALF_PIXEL_SHIFTS))
    chosen = 1 - similarity < bound
    order = np.lexsort((right[chosen], left[chosen], -similarity[chosen]))
    left, right, similarity = left[chosen][order], right[chosen][order], similarity[chosen][order]
    return DuplicatePairs(rows[left], rows[right], similarity)


def _extract_patterns(images: Pixels, rows: Labels) -> tuple[NDArray[np.float16], Float32Array, Float32Array]:
    """Compute what rows are compared by.

    Returns:
        The patterns between two blurs, (n, h, w) with sides of at most 32; the thumbnails, (n, 64) of unit length; and the
        standard deviations of the patterns: (n,).
    """
    height, width = images.shape[2:]
    h, w = min(height, MAX_SIDE), min(width, MAX_SIDE)
    vertical, horizontal = _area_resize_matrix(height, h), _area_resize_matrix(width, w)
    thumb_vertical, thumb_horizontal = _area_resize_matrix(h, THUMBNAIL_SIDE), _area_resize_matrix(w, THUMBNAIL_SIDE)
    patterns = np.empty((len(rows), h, w), np.float16)
    thumbs = np.empty((len(rows), THUMBNAIL_SIDE * THUMBNAIL_SIDE), np.float32)
    contrast = np.empty(len(rows), np.float32)
    weights = np.array([0.299, 0.587, 0.114] if images.shape[1] == 3 else [1], np.float32)
    for start in range(0, len(rows), CHUNK_ROWS):
        here = slice(start, start + CHUNK_ROWS)
        chunk = images[rows[here]]
        grey = sum(weight * chunk[:, channel] for channel, weight in enumerate(weights))
        grey = vertical @ grey @ horizontal.T
        blurred = [
            _gaussian_blur_matrix(h, sigma) @ grey @ _gaussian_blur_matrix(w, sigma).T
            for sigma in (0.7, max(min(h, w) / 12, 1.4))
        ]
        pattern = blurred[0] - blurred[1]
        patterns[here], contrast[here] = pattern, pattern.std(axis=(1, 2))
        thumbs[here] = _normalise_rows((thumb_vertical @ grey @ thumb_horizontal.T).reshape(len(chunk), -1))
    return patterns, thumbs, contrast


def _area_resize_matrix(n: int, k: int) -> Float32Array:
    """Return the matrix that resizes n pixels to k by the mean over the length that each covers: (k, n)."""
    edges = np.linspace(0, n, k + 1)
    cover = np.minimum(edges[1:, None], np.arange(n) + 1) - np.maximum(edges[:-1, None], np.arange(n))
    matrix: Float32Array = (cover.clip(0) * (k / n)).astype(np.float32)
    return matrix


def _gaussian_blur_matrix(n: int, sigma: float) -> Float32Array:
    """Return the matrix of a Gaussian blur, normalised at the edges: (n, n)."""
    weight = np.exp(-0.5 * ((np.arange(n)[:, None] - np.arange(n)) / sigma) ** 2)
    blur: Float32Array = (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)
    return blur


def _normalise_rows(x: Float32Array) -> Float32Array:
    """Subtract each row's mean and scale it to unit length: (n, d) -> (n, d)."""
    x = x - x.mean(axis=1, keepdims=True)
    unit: Float32Array = x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-6)
    return unit


def _candidate_pairs(thumbs: Float32Array) -> tuple[Labels, Labels]:
    """Return pairs that may be near duplicates: neighbours in some order, of each image the most similar: (m,), (m,)."""
    points = _principal_components(thumbs)
    count, size = points.shape
    draws = seeds.keys_to_uniform(
        seeds.row_keys(seeds.derive(0, "duplicates"), np.arange(NUM_ORDERS * size * BITS_PER_ORDER))
    )
    planes = (draws - 0.5).astype(np.float32).reshape(NUM_ORDERS, size, BITS_PER_ORDER)
    pair_ids, similarities = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for plane in planes:
        bits = np.packbits(points @ plane > 0, axis=1)
        order = np.argsort(bits.view(">u4").ravel().astype(np.uint32), kind="stable")
        for distance in range(1, min(MAX_RANK_DISTANCE, count - 1) + 1):
            one, other = order[:-distance], order[distance:]
            similarity = np.einsum("nd,nd->n", points[one], points[other])
            similar = similarity > MIN_THUMBNAIL_SIMILARITY
            low, high = np.minimum(one, other)[similar], np.maximum(one, other)[similar]
            pair_ids.append(low * count + high)
            similarities.append(similarity[similar])
    unique, where = np.unique(np.concatenate(pair_ids), return_index=True)
    left, right = unique // count, unique % count
    similarity = np.concatenate(similarities)[where]
    chosen = _among_best_partners(left, similarity) | _among_best_partners(right, similarity)
    return left[chosen], right[chosen]


def _principal_components(thumbs: Float32Array) -> Float32Array:
    """Return thumbnails in their principal directions, strong ones damped, at unit length: (n, 64) -> (n, d).

    Damping separates similar images while copies remain close.
    """
    centred = thumbs - thumbs.mean(axis=0)
    variance, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    strongest = np.argsort(-variance)[:NUM_DIRECTIONS]
    damped = axes[:, strongest] / variance[strongest].clip(1e-6 * variance.max() + 1e-12) ** 0.25
    points: Float32Array = centred @ damped.astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True).clip(1e-6)
    return points


def _among_best_partners(member: Labels, similarity: Float32Array) -> NDArray[np.bool_]:
    """Return a mask of the pairs that are among the most similar of their member: (m,), (m,) -> (m,)."""
    order = np.lexsort((-similarity, member))
    counts = np.bincount(member)
    rank = np.arange(len(member)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = np.empty(len(member), bool)
    chosen[order] = rank < MAX_PARTNERS
    return chosen


def _max_correlation(
    patterns: NDArray[np.float16], left: Labels, right: Labels, shifts: Sequence[tuple[int, int]]
) -> Float32Array:
    """Return the largest correlation of each pair over shifts of one of the two, in half pixels: (m,), (m,) -> (m,)."""
    h, w = patterns.shape[1:]
    best = np.full(len(left), -1, np.float32)
    for start in range(0, len(left), CHUNK_ROWS):
        here = slice(start, start + CHUNK_ROWS)
        fixed = patterns[left[here], 1:-1, 1:-1].astype(np.float32)
        fixed = _normalise_rows(fixed.reshape(len(fixed), -1)).reshape(fixed.shape)
        moving = patterns[right[here]].astype(np.float32)
        for y, x in shifts:
            shifted = _crop_at_half_pixels(_crop_at_half_pixels(moving, y, h - 2, axis=1), x, w - 2, axis=2)
            product = np.einsum("nhw,nhw->n", fixed, shifted)
            square = np.einsum("nhw,nhw->n", shifted, shifted) - shifted.sum(axis=(1, 2)) ** 2 / shifted[0].size
            best[here] = np.maximum(best[here], product / np.sqrt(square.clip(1e-6)))
    return best


def _crop_at_half_pixels(images: Float32Array, offset: int, count: int, axis: int) -> Float32Array:
    """Crop `count` rows (axis 1) or columns (axis 2) at an offset in half pixels, interpolated if it is odd."""
    low, odd = divmod(offset, 2)
    first, second = (images[:, i : i + count] if axis == 1 else images[:, :, i : i + count] for i in (low, low + odd))
    crop: Float32Array = (first + second) * np.float32(0.5) if odd else first
    return crop


def _usual_distance(patterns: NDArray[np.float16], rows: Labels) -> Float32Array:
    """Return each row's distance from its tenth nearest in a sample of the others: (n,) -> (n,)."""
    reference = np.unique(np.linspace(0, len(patterns) - 1, REFERENCE_SAMPLE).astype(np.int64))
    sample = _normalise_rows(patterns[reference].reshape(len(reference), -1).astype(np.float32))
    rank = min(NEIGHBOUR_RANK, len(reference) - 1)
    usual = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), CHUNK_ROWS):
        here = rows[start : start + CHUNK_ROWS]
        similarity = _normalise_rows(patterns[here].reshape(len(here), -1).astype(np.float32)) @ sample.T
        similarity[here[:, None] == reference] = -1  # an image is not its own neighbour
        usual[start : start + CHUNK_ROWS] = 1 - np.partition(similarity, -rank, axis=1)[:, -rank]
    return usual
