"""instance: label noise that the image decides.

a_n = scale * (x_n W_y) / sqrt(S),   own entry -infinity,   t_n ~ softmax(a_n)          for the flipped of class y

x_n        the S pixels of image n, each place standardised over all images of the data set (a constant place is 0)
W_y        a matrix of random signs for each class shown: (S, K)

After "Part-dependent Label Noise: Towards Instance-dependent Label Noise" (Xia et al., NeurIPS 2020, arXiv 2006.07836),
which draws a flip rate for each sample from a normal around the mean rate, without a look at the image: whom it flips is
chance, and what the image decides is the wrong label. So it is here, but the rate is exact: a share `rate` of each class
flips, the first by key.

What departs from the paper's generator: pixels are standardised and logits divided by sqrt(S), because with plain pixels
brightness alone decides and most of a class goes to one target; signs stand for the normal entries of W, since sums of
many are as good as normal; x is rounded to 1/256, so that the product is exact on every machine.

The larger the scale, the more the image alone decides; at 0.8 the largest target of each class of Fashion-MNIST takes
less than half of its flips.
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

GRID = 256  # the parts of a standard deviation that pixels are rounded to
CHUNK_PIXELS = 2**22  # pixels that are floats at a time: 32 MiB, so that a memory-mapped set stays on the disk

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Instance(Scenario):
    """A share of each class is shown under labels that the images decide."""

    rate: Share
    scale: Positive = 0.8
    draws: Draws = "exact"

    def corruption_rates(self, view: View) -> NDArray[np.float64]:
        return np.full(len(view.classes), self.rate)

    def apply(self, view: View) -> View:
        classes = len(view.classes)
        chosen, starts = select_corrupted(view, np.full(classes, self.rate), self.draws)
        labels, uniform = view.labels.copy(), seeds.keys_to_uniform(view.keys("target"))
        for y, mine in enumerate(np.split(chosen, starts[1:])):
            if not len(mine):
                continue
            mine = np.sort(mine)  # as they lie on the disk
            W = random_signs(view.draw("W", y), int(np.prod(view.sources[0].shape)), classes)
            for piece, x in iter_standardised(view, mine):
                a = self.scale * (x @ W) / (GRID * np.sqrt(len(W)))
                a[:, y] = -np.inf
                # Of all this only exp may differ in its last bit from machine to machine: one draw in 10**15 could tell.
                shares = np.cumsum(np.exp(a - a.max(axis=1, keepdims=True)), axis=1)
                labels[piece] = (shares <= uniform[piece, None] * shares[:, -1:]).sum(axis=1)
        return view.relabel(labels)


class PixelMoments(NamedTuple):
    """What the pixels of all images are at each place: (S,) each."""

    mean: FloatArray
    deviation: FloatArray  # 1 where it is none


_PIXEL_MOMENTS: WeakKeyDictionary[Source, PixelMoments] = WeakKeyDictionary()  # a pass over all images is made once


def pixel_moments(source: Source) -> PixelMoments:
    """Mean and deviation of each pixel place over a source's images, from exact sums, so the same everywhere."""
    if source not in _PIXEL_MOMENTS:
        images = source.images.reshape(len(source.images), -1)
        total, squares = np.zeros((2, images.shape[1]))
        for start in range(0, len(images), _chunk_length(source)):
            x = images[start : start + _chunk_length(source)].astype(np.float64)
            total += x.sum(axis=0)
            squares += np.square(x, out=x).sum(axis=0)
        mean = total / len(images)
        spread = np.maximum(squares * len(images) - total**2, 0)
        deviation = np.sqrt(spread) / len(images)
        _PIXEL_MOMENTS[source] = PixelMoments(mean, np.where(deviation > 0, deviation, 1))
    return _PIXEL_MOMENTS[source]


def iter_standardised(view: View, chosen: Labels) -> Iterator[tuple[Labels, FloatArray]]:
    """Some rows of a view in pieces: their indices (m,), and their pixels as whole numbers of 1 / GRID: (m, S)."""
    mean, deviation = pixel_moments(view.sources[0])
    for start in range(0, len(chosen), _chunk_length(view.sources[0])):
        piece = chosen[start : start + _chunk_length(view.sources[0])]
        x = view.take(piece).images().reshape(len(piece), -1).astype(np.float64)
        yield piece, np.rint(GRID * (x - mean) / deviation)


def random_signs(seed: int, rows: int, columns: int) -> FloatArray:
    """A matrix of -1 and 1 that the seed decides: (rows, columns)."""
    bits = (seeds.row_keys(seed, np.arange(rows * columns)) >> np.uint64(63)).astype(np.float64)
    return (2 * bits - 1).reshape(rows, columns)


def _chunk_length(source: Source) -> int:
    """How many images make a piece."""
    return max(1, CHUNK_PIXELS // int(np.prod(source.shape)))
