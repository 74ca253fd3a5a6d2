"""instance: instance-dependent label noise.

a_n = scale * (x_n W_y) / sqrt(S),   entry y set to -infinity,   t_n ~ softmax(a_n)     for the flipped samples of class y

x_n        the S pixels of image n, each standardised over all images of the data set (constant pixels are 0)
W_y        a matrix of random signs for each class shown: (S, K)

After "Part-dependent Label Noise: Towards Instance-dependent Label Noise" (Xia et al., NeurIPS 2020, arXiv 2006.07836),
which draws a flip rate for each sample from a normal distribution around the mean rate, independent of the image. So the
image determines the wrong label but not which samples flip. The same holds here, but the rate is exact: a fraction `rate` of
each class flips, the first samples by key.

Departs from the paper's generator: pixels are standardised and logits divided by sqrt(S), because with raw pixels brightness
dominates and most of a class goes to one target. Signs replace the normal entries of W, since sums of many are close to
normal. x is rounded to 1/256, so that the product is exact on every machine.

The larger the scale, the more deterministic the target is. At 0.8 the most frequent target of each class of Fashion-MNIST
receives less than half of its flips.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from robustkd import seeds
from robustkd.data.view import Labels, Source, View
from robustkd.types import Positive, Share
from scenarios.base import Draws, Scenario, select_corrupted

GRID = 256  # pixels are rounded to multiples of 1 / GRID standard deviations
CHUNK_PIXELS = 2**22  # pixels converted to floats at a time: 32 MiB, so that a memory-mapped data set stays on disk

PixelArray = NDArray[np.float64]


@dataclass(frozen=True)
class Instance(Scenario):
    """Label noise whose wrong labels depend on the image."""

    family = "label noise"
    rate: Share
    scale: Positive = 0.8
    draws: Draws = "exact"

    def corruption_rates(self, view: View) -> NDArray[np.float64]:
        return np.full(len(view.classes), self.rate)

    def apply(self, view: View) -> View:
        classes = len(view.classes)
        chosen, starts = select_corrupted(view, np.full(classes, self.rate), self.draws)
        labels, uniform = view.labels.copy(), seeds.keys_to_uniform(view.keys("target"))
        for y, members in enumerate(np.split(chosen, starts[1:])):
            if not len(members):
                continue
            members = np.sort(members)  # the order on disk
            W = random_signs(view.derive_seed("W", y), int(np.prod(view.sources[0].stored_shape)), classes)
            for chunk, x in iter_standardised(view, members):
                a = self.scale * (x @ W) / (GRID * np.sqrt(len(W)))
                a[:, y] = -np.inf
                # Only exp may differ between machines, in its last bit, which would change one draw in 10**15.
                cumulative = np.cumsum(np.exp(a - a.max(axis=1, keepdims=True)), axis=1)
                labels[chunk] = (cumulative <= uniform[chunk, None] * cumulative[:, -1:]).sum(axis=1)
        return view.relabel(labels)


class PixelMoments(NamedTuple):
    """Mean and standard deviation of each pixel over all images: (S,) each."""

    mean: PixelArray
    deviation: PixelArray  # 1 for constant pixels


_PIXEL_MOMENTS: WeakKeyDictionary[Source, PixelMoments] = WeakKeyDictionary()  # one pass over all images per source


def pixel_moments(source: Source) -> PixelMoments:
    """Compute the moments of each pixel over a source's images, from exact sums, so that they are equal on all machines."""
    if source not in _PIXEL_MOMENTS:
        images = source.images.reshape(len(source.images), -1)
        total, squares = np.zeros((2, images.shape[1]))
        for start in range(0, len(images), _chunk_length(source)):
            x = images[start : start + _chunk_length(source)].astype(np.float64)
            total += x.sum(axis=0)
            squares += np.square(x, out=x).sum(axis=0)
        mean = total / len(images)
        scaled_variance = np.maximum(squares * len(images) - total**2, 0)
        deviation = np.sqrt(scaled_variance) / len(images)
        _PIXEL_MOMENTS[source] = PixelMoments(mean, np.where(deviation > 0, deviation, 1))
    return _PIXEL_MOMENTS[source]


def iter_standardised(view: View, chosen: Labels) -> Iterator[tuple[Labels, PixelArray]]:
    """Iterate over selected rows in chunks: their indices (m,) and standardised pixels as integers in 1 / GRID: (m, S)."""
    mean, deviation = pixel_moments(view.sources[0])
    for start in range(0, len(chosen), _chunk_length(view.sources[0])):
        chunk = chosen[start : start + _chunk_length(view.sources[0])]
        x = view.take(chunk).images().reshape(len(chunk), -1).astype(np.float64)
        yield chunk, np.rint(GRID * (x - mean) / deviation)


def random_signs(seed: int, rows: int, columns: int) -> PixelArray:
    """Draw a matrix of -1 and 1 by seed: (rows, columns)."""
    bits = (seeds.row_keys(seed, np.arange(rows * columns)) >> np.uint64(63)).astype(np.float64)
    return (2 * bits - 1).reshape(rows, columns)


def _chunk_length(source: Source) -> int:
    """Return the number of images per chunk."""
    return max(1, CHUNK_PIXELS // int(np.prod(source.stored_shape)))
