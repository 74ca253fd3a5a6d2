"""What the layers hand one another. B batch, K classes, C H W image, D embedding, N training rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor


class Clock(NamedTuple):
    """Where a phase stands: all that a schedule inside a method may depend on."""

    epoch: int  # counted from 0
    epochs: int  # of this phase


@dataclass(frozen=True)
class Batch:
    """What a method sees of the data: never a true label."""

    images: Tensor  # (B, C, H, W) float in [0, 1]
    labels: Tensor  # (B,) int64, as given
    index: Tensor  # (B,) int64, the row in the view, 0 to N - 1
    clock: Clock
    views: tuple[Tensor, ...] = ()  # the same images again, augmented in the ways that the method's `views` name


class Output(NamedTuple):
    """What a network answers, in float32 whatever it computed in."""

    logits: Tensor  # (B, K)
    embedding: Tensor  # (B, D), what the head reads
    maps: Sequence[Tensor]  # the stem's and each stage's, (B, c, h, w)


@dataclass(frozen=True)
class Facts:
    """All that a method may know of its training set: nothing in here tells a wrong label from a right one."""

    samples: int
    counts: tuple[int, ...]  # labels given per class
    shape: tuple[int, int, int]  # C, H, W

    @property
    def classes(self) -> int:
        return len(self.counts)


@dataclass
class Objective:
    """Named terms, already weighted, whose sum is minimised; and notes, which are only logged."""

    terms: dict[str, Tensor]
    notes: dict[str, Tensor] = field(default_factory=dict)

    @property
    def loss(self) -> Tensor:
        if not self.terms:
            raise TypeError("an Objective has no terms: there is nothing to minimise")
        return torch.stack(list(self.terms.values())).sum()
