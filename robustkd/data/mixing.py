"""Mixing: every image of a batch is mixed with another of the batch, and so are their labels.

    x = share x_i + (1 - share) x_j,   loss = w loss(y_i) + (1 - w) loss(y_j),   share from Beta(alpha, alpha), one per batch

mixup    w = share. Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018, arXiv 1710.09412; alpha 1 as in the
         authors' code for CIFAR-10.
cutmix   a box of x_j is pasted into x_i; w is the share of the pixels that are left. Yun et al., "CutMix: Regularization
         Strategy to Train Strong Classifiers with Localizable Features", ICCV 2019, arXiv 1905.04899; alpha 1, and a
         probability of 0.5 per batch, as in the authors' commands for CIFAR.
remix    mixup, but w is 0 where n_i / n_j >= ratio and share < threshold, and 1 where n_i / n_j <= 1 / ratio and 1 - share <
         threshold: the label goes to the smaller class. Chou et al., "Remix: Rebalanced Mixup", ECCV 2020 workshops, arXiv
         2007.03943; ratio 3 and threshold 0.5 are the paper's.

Partners are a permutation of the batch. The views of an image are mixed with the same partner and share.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Protocol

from robustkd.registry import Entry, Registry
from robustkd.types import Batch, Mixed, Positive, Ratio, Share

if TYPE_CHECKING:  # options are checked before torch is loaded
    from torch import Tensor

NO_MIXING = "none"
MIXINGS = Registry(
    "mixing",
    "robustkd.data",
    "robustkd.mixings",
    {
        "mixup": Entry(
            "mixing:Mixup", "pixels and labels of two images, weighted by the same number (arXiv 1710.09412)"
        ),
        "cutmix": Entry("mixing:CutMix", "a box of one image in another, labels weighted by area (arXiv 1905.04899)"),
        "remix": Entry("mixing:Remix", "mixup with the label of the smaller class (arXiv 2007.03943)"),
    },
)


class Mixing(Protocol):
    """How two samples are mixed. Randomness is an argument: `draws` uniform numbers in [0, 1) per batch."""

    draws: ClassVar[int]

    def mix(self, images: "Tensor", others: "Tensor", draws: Sequence[float]) -> tuple["Tensor", float]:
        """Return the mixtures and the share of the first images: two (B, C, H, W) -> (B, C, H, W), number in [0, 1]."""
        ...

    def label_weight(self, share: float, counts: "Tensor", other_counts: "Tensor") -> "Tensor":
        """Return the weight of the first labels, given the class sizes of both: (B,), (B,) -> (B,)."""
        ...


def parse_mixing(text: str) -> Mixing | None:
    """Return the mixing that a text describes, None for `none`.

    Raises:
        UsageError: the name or a parameter is unknown or not allowed.
    """
    if text.strip() == NO_MIXING:
        return None
    spec = MIXINGS.parse(text)
    mixing: Mixing = spec.load()(**spec.kwargs())
    return mixing


def mix_batch(batch: Batch, mixing: Mixing, partners: "Tensor", draws: Sequence[float], counts: "Tensor") -> Batch:
    """Mix the images and views of a batch with those of their partners.

    Args:
        partners: (B,) int64, a permutation of the batch.
        draws: the numbers that the mixing needs.
        counts: (K,) labels per class.
    """
    mixed = [mixing.mix(images, images[partners], draws) for images in (batch.images, *batch.views)]
    labels, share = batch.labels[partners], mixed[0][1]
    weight = mixing.label_weight(share, counts[batch.labels], counts[labels])
    second = Mixed(labels, batch.index[partners], weight)
    return replace(batch, images=mixed[0][0], views=tuple(images for images, _ in mixed[1:]), mixed=second)


def beta_quantile(alpha: float, probability: float) -> float:
    """Return the quantile of Beta(alpha, alpha), which turns a uniform draw into one from it.

    >>> beta_quantile(1.0, 0.3), beta_quantile(4.0, 0.5)
    (0.3, 0.5)
    """
    from scipy.special import betaincinv

    return round(float(betaincinv(alpha, alpha, probability)), 12)


class Mixup:
    """Weighted means of two images, and of their labels."""

    draws: ClassVar[int] = 1

    def __init__(self, *, alpha: Positive = 1.0) -> None:
        self.alpha = alpha

    def mix(self, images: "Tensor", others: "Tensor", draws: Sequence[float]) -> tuple["Tensor", float]:
        share = beta_quantile(self.alpha, draws[0])
        return others.lerp(images, share), share

    def label_weight(self, share: float, counts: "Tensor", other_counts: "Tensor") -> "Tensor":
        return (0 * counts + share).float()


class CutMix(Mixup):
    """A box of one image pasted into another; labels are weighted by area."""

    draws: ClassVar[int] = 4

    def __init__(self, *, alpha: Positive = 1.0, probability: Share = 0.5) -> None:
        super().__init__(alpha=alpha)
        self.probability = probability

    def mix(self, images: "Tensor", others: "Tensor", draws: Sequence[float]) -> tuple["Tensor", float]:
        if draws[3] >= self.probability:
            return images, 1.0
        height, width = images.shape[2:]
        side = math.sqrt(1 - beta_quantile(self.alpha, draws[0]))  # relative to those of the image
        rows, columns = (place_box(size, side, draw) for size, draw in ((height, draws[1]), (width, draws[2])))
        mixed = images.clone()
        mixed[:, :, rows, columns] = others[:, :, rows, columns]
        area = (rows.stop - rows.start) * (columns.stop - columns.start)
        return mixed, 1 - area / (height * width)


def place_box(size: int, side: float, draw: float) -> slice:
    """Return one dimension of a box with a uniformly drawn centre, cut off at the border of the image.

    >>> place_box(8, 0.5, 0.5), place_box(8, 0.5, 0.0)
    (slice(2, 6, None), slice(0, 2, None))
    """
    centre, half = int(draw * size), int(size * side) // 2
    return slice(max(0, centre - half), min(size, centre + half))


class Remix(Mixup):
    """Mixup in which the label of a much smaller class wins."""

    def __init__(self, *, alpha: Positive = 1.0, ratio: Ratio = 3.0, threshold: Share = 0.5) -> None:
        super().__init__(alpha=alpha)
        self.ratio, self.threshold = ratio, threshold

    def label_weight(self, share: float, counts: "Tensor", other_counts: "Tensor") -> "Tensor":
        weight = super().label_weight(share, counts, other_counts)
        larger, smaller = counts >= self.ratio * other_counts, other_counts >= self.ratio * counts
        if share < self.threshold:
            weight = weight.masked_fill(larger, 0.0)
        return weight.masked_fill(smaller, 1.0) if 1 - share < self.threshold else weight
