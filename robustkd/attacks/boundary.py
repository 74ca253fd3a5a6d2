"""Walks to a network's decision boundary, and which samples of a batch are walked there."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from robustkd.types import Batch, Clock

LogitsFn = Callable[[Tensor], Tensor]  # images (N, C, H, W) -> logits (N, K)


class Perturbed(NamedTuple):
    """Where images came to that were walked towards a class."""

    images: Tensor  # (N, C, H, W)
    logits: Tensor  # (N, K), the network's answer there
    crossed: Tensor  # (N,) bool, whether the network now says the class aimed at
    astray: Tensor  # (N,) bool, whether it says a third class


def perturb_towards(
    logits: LogitsFn,
    images: Tensor,
    base: Tensor,
    target: Tensor,
    *,
    unit: Tensor | float = 1.0,
    steps: int = 10,
    step: float = 0.3,
    beyond: float = 1e-4,
    bounds: tuple[float, float] | None = (0.0, 1.0),
) -> Perturbed:
    """Walk images from their class towards another until the network leaves the first: the attack of BSS.

        x <- x - step (f_b(x) - f_k(x) + beyond) g / ||g||,   g the gradient of f_b(x) - f_k(x), per image

    Heo et al., "Knowledge Distillation with Adversarial Samples Supporting Decision Boundary", AAAI 2019, arXiv
    1805.05532, as in the authors' code: an image rests once the network says any other class than b.

    Args:
        logits: (N, C, H, W) -> (N, K); it should be in evaluation mode, or images would move one another.
        images: (N, C, H, W).
        base: (N,) int64, the class b.
        target: (N,) int64, the class k.
        unit: what a step of length 1 is in units of the images, per channel (1, C, 1, 1): the standard deviation where
            the literature gives steps for normalised images.
        bounds: the range that images stay in.
    """
    moved, resting = images.detach(), torch.zeros(len(images), dtype=torch.bool, device=images.device)
    with torch.enable_grad():
        for _ in range(steps):
            x = moved.clone().requires_grad_()
            z = logits(x)
            gap = _select_logits(z, base) - _select_logits(z, target)
            (gradient,) = torch.autograd.grad(gap.sum(), x)
            resting = resting | (z.argmax(dim=1) != base)
            g = gradient * unit
            length = g.flatten(1).norm(dim=1).clamp(min=1e-12)
            stride = torch.where(resting, 0.0, step * (gap.detach() + beyond) / length)
            moved = moved - stride.view(-1, 1, 1, 1) * g * unit
            moved = moved if bounds is None else moved.clamp(*bounds)
    with torch.no_grad():
        there = logits(moved)
    said = there.argmax(dim=1)
    return Perturbed(moved, there, said == target, (said != target) & (said != base))


def _select_logits(z: Tensor, which: Tensor) -> Tensor:
    return z.gather(1, which[:, None])[:, 0]


class BoundarySamples(NamedTuple):
    """Boundary supporting samples: images walked to where the teacher's mind changes from one class to another."""

    images: Tensor  # (M, C, H, W)
    logits: Tensor  # (M, K), the teacher's answer there
    rows: Tensor  # (M,) int64, the sample of the batch each was walked from
    base: Tensor  # (M,) int64, its class
    target: Tensor  # (M,) int64, the class it was walked towards
    counted: Tensor  # (M,) bool, whether it is one: the others fill up the batch
    notes: dict[
        str, Tensor
    ]  # shares: of candidates in M, and of those that crossed to their target, or to a third class


def find_boundary_samples(
    logits: LogitsFn,
    batch: Batch,
    teacher: Tensor,
    student: Tensor,
    random: torch.Generator,
    *,
    share: float,
    unit: Tensor | float = 1.0,
    steps: int = 10,
    step: float = 0.3,
    strict: bool = False,
) -> BoundarySamples:
    """Choose base samples of a batch, draw a class for each, and walk them towards it (arXiv 1805.05532).

    M is always the same share of the batch, so that no step waits for the host to count candidates.

    Args:
        logits: the teacher, in evaluation mode.
        teacher, student: (B, K), what they answer to the batch.
        share: of the batch, at most.
        strict: count only what came to the class it was walked towards.
    """
    rows, counted = select_base_samples(teacher, student, batch.labels, max(1, int(share * len(batch.labels))))
    base, target = batch.labels[rows], sample_target_classes(teacher[rows], random)
    walked = perturb_towards(logits, batch.images[rows], base, target, unit=unit, steps=steps, step=step)
    if strict:
        counted = counted & walked.crossed
    count = counted.sum().clamp(min=1)
    notes = {
        "candidates": counted.float().mean(),
        "crossed": (walked.crossed & counted).sum() / count,
        "astray": (walked.astray & counted).sum() / count,
    }
    return BoundarySamples(walked.images, walked.logits, rows, base, target, counted, notes)


def select_base_samples(teacher: Tensor, student: Tensor, labels: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The rows to walk from, and which of them count: (B, K), (B, K), (B,) -> (most,), (most,) bool.

    Those that count are right in teacher and student; those come first whose other classes the two see most differently.
    """
    right = (teacher.argmax(dim=1) == labels) & (student.argmax(dim=1) == labels)
    apart = (teacher.softmax(dim=1) - student.detach().softmax(dim=1)).square()
    score = apart.scatter(1, labels[:, None], 0.0).sum(dim=1).masked_fill(~right, -1.0)
    best = score.topk(most)
    return best.indices, best.values >= 0


def sample_target_classes(teacher: Tensor, random: torch.Generator) -> Tensor:
    """A class for each sample but the teacher's first, drawn with the teacher's probabilities: (N, K) -> (N,)."""
    first, second = teacher.topk(2, dim=1).indices.T
    chances = teacher.softmax(dim=1).scatter(1, first[:, None], 0.0)
    # Where the teacher is so sure that nothing is left, the second-ranked class is taken.
    chances = chances + F.one_hot(second, teacher.shape[1]) * 1e-30
    return torch.multinomial(chances, 1, generator=random)[:, 0]


def boundary_weights(clock: Clock) -> tuple[float, float]:
    """The weights alpha of soft targets on images and beta of what happens at the boundary, by the schedule of BSS.

        alpha(e) = 1 + 3 max(0, 1 - e / E),   beta(e) = 2 max(0, 1 - 4 e / (3 E)),   e = 1..E

    >>> [round(weight, 4) for weight in boundary_weights(Clock(0, 80))], boundary_weights(Clock(59, 80))[1]
    ([3.9625, 1.9667], 0.0)
    """
    done = (clock.epoch + 1) / clock.epochs
    return 1 + 3 * max(0.0, 1 - done), 2 * max(0.0, 1 - 4 / 3 * done)
