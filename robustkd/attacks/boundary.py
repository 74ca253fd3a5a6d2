"""Adversarial samples at a network's decision boundary, as in BSS, and the selection of the samples to perturb.

Heo et al., "Knowledge Distillation with Adversarial Samples Supporting Decision Boundary", AAAI 2019, arXiv 1805.05532.

The authors' steps are `step (f_b - f_k + overshoot) g / ||g||`, where g is the gradient of f_b - f_k. Where the network is
linear, such a step multiplies the gap f_b - f_k by 1 - step ||g||: how near images end depends on the scale of the network's
logits and pixels, and beyond ||g|| = 1 / step they jump across the boundary. Divided by ||g|| once more, each step covers the
share `approach` of the distance that remains, for any network; the last step covers all of it, so that images end just beyond
the boundary. Pixels that are at a bound and would leave it do not count in ||g||. The default is that of the authors' step of
0.3 on CIFAR-10, where ||g|| is 1.4.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from robustkd.functional import MIN_NORM, masked_mean, masked_median
from robustkd.types import Batch, Clock

APPROACH = 0.42
LogitsFn = Callable[[Tensor], Tensor]  # images (N, C, H, W) -> logits (N, K)


class Perturbed(NamedTuple):
    """Images perturbed towards a target class, and the network's predictions for them."""

    images: Tensor  # (N, C, H, W)
    logits: Tensor  # (N, K), of the perturbed images
    in_target: Tensor  # (N,) bool, whether the network now predicts the target class
    in_third: Tensor  # (N,) bool, whether it predicts a class other than base and target


def perturb_towards(
    logits: LogitsFn,
    images: Tensor,
    base: Tensor,
    target: Tensor,
    *,
    unit: Tensor | float = 1.0,
    steps: int = 10,
    approach: float = APPROACH,
    step: float | None = None,
    overshoot: float = 1e-4,
    bounds: tuple[float, float] | None = (0.0, 1.0),
) -> Perturbed:
    """Perturb images from their base class towards a target class until the prediction changes: the attack of BSS.

        x <- x - approach (f_b(x) - f_k(x) + overshoot) g / ||g||^2,   g the gradient of f_b(x) - f_k(x), per image

    As in the authors' code, an image stops as soon as the network predicts any class other than b.

    Args:
        logits: (N, C, H, W) -> (N, K), in evaluation mode, so that the images of a batch do not affect each other.
        base, target: (N,) int64, the classes b and k.
        unit: the length in image units of a step of length 1, (1, C, 1, 1): the standard deviation, if images are normalised.
        approach: share of the distance to the boundary that each step but the last covers, where the network is linear.
        step: the authors' step instead.
        bounds: the range that images are clipped to.
    """
    x, stopped = images.detach(), torch.zeros_like(base, dtype=torch.bool)
    with torch.enable_grad():
        for number in range(1, steps + 1):
            z, gap, gradient = margin_gradient(logits, x, base, target)
            stopped = stopped | (z.argmax(dim=1) != base)
            g = unit * (gradient if step is not None else _exclude_fixed_pixels(gradient, x, bounds))
            share = approach if number < steps else 1.0
            scale = _step_scale(torch.where(stopped, 0.0, gap + overshoot), g.flatten(1).norm(dim=1), step, share)
            x = _clip(x - scale.view(-1, 1, 1, 1) * g * unit, bounds)
    with torch.no_grad():
        z = logits(x)
    predicted = z.argmax(dim=1)
    return Perturbed(x, z, predicted == target, (predicted != target) & (predicted != base))


def _step_scale(gap: Tensor, norm: Tensor, step: float | None, share: float) -> Tensor:
    """Return the factor of the gradient in a step that is to close a share of the gap, or is the authors': (N,) each."""
    length = share * gap / norm.clamp(min=MIN_NORM) if step is None else step * gap
    return length / norm.clamp(min=1e-12)


def _clip(x: Tensor, bounds: tuple[float, float] | None) -> Tensor:
    return x if bounds is None else x.clamp(*bounds)


def _exclude_fixed_pixels(gradient: Tensor, x: Tensor, bounds: tuple[float, float] | None) -> Tensor:
    """Set the gradient to zero where descending it would move a pixel beyond its bounds."""
    if bounds is None:
        return gradient
    low, high = bounds
    return gradient.masked_fill(((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0)), 0.0)


def margin_gradient(logits: LogitsFn, x: Tensor, base: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the logits of images, f_b - f_k and its gradient by the images: (N, K), (N,), (N, C, H, W)."""
    leaf = x.clone().requires_grad_()
    z = logits(leaf)
    gap = _select_logits(z, base) - _select_logits(z, target)
    (gradient,) = torch.autograd.grad(gap.sum(), leaf)
    return z, gap.detach(), gradient


def _select_logits(z: Tensor, classes: Tensor) -> Tensor:
    """Select one logit per row: (N, K), (N,) -> (N,)."""
    return z.gather(1, classes[:, None])[:, 0]


class BoundarySamples(NamedTuple):
    """Boundary supporting samples: images perturbed until the teacher's prediction changes to another class."""

    images: Tensor  # (M, C, H, W)
    logits: Tensor  # (M, K), of the teacher for these images
    rows: Tensor  # (M,) int64, the row of the batch that each was perturbed from
    base: Tensor  # (M,) int64, the label of that row
    target: Tensor  # (M,) int64, the class it was perturbed towards
    valid: Tensor  # (M,) bool, False for samples that only fill the batch or were not selected
    # Of M, the fraction that was perturbed, and that is valid. Of the perturbed: the fraction that ended in the target or in a
    # third class, and the median difference of the two highest probabilities, 0 on a boundary.
    notes: dict[str, Tensor]


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
    approach: float = APPROACH,
    step: float | None = None,
    strict: bool = False,
    max_margin: float | None = None,
) -> BoundarySamples:
    """Select base samples of a batch, sample a target class for each and perturb them towards it (arXiv 1805.05532).

    M is a fixed share of the batch, so that no step has to synchronise with the host to count candidates.

    Args:
        logits: the teacher, in evaluation mode.
        teacher, student: (B, K), their logits for the batch.
        share: M as a fraction of the batch size.
        strict: count only samples that ended in their target class as valid.
        max_margin: count only samples as valid that are close to the boundary of base and target: these are the two classes
            with the highest probabilities, which differ by at most this.
    """
    rows, walked = select_base_samples(teacher, student, batch.labels, count_base_samples(len(batch.labels), share))
    base, target = batch.labels[rows], sample_target_classes(teacher[rows], random)
    perturbed = perturb_towards(
        logits, batch.images[rows], base, target, unit=unit, steps=steps, approach=approach, step=step
    )
    margin, between = describe_boundary(perturbed.logits, base, target)
    valid = walked & perturbed.in_target if strict else walked
    if max_margin is not None:
        valid = valid & between & (margin <= max_margin)
    notes = {"candidates": walked.float().mean(), "kept": valid.float().mean(), "margin": masked_median(margin, walked)}
    for name, where in (("crossed", perturbed.in_target), ("astray", perturbed.in_third)):
        notes[name] = masked_mean(where.float(), walked)
    return BoundarySamples(perturbed.images, perturbed.logits, rows, base, target, valid, notes)


def count_base_samples(batch: int, share: float) -> int:
    """Return how many samples of a batch are perturbed.

    They are two at least, as batch norm cannot be trained with a single image whose maps have one pixel.

    >>> count_base_samples(64, 0.25), count_base_samples(5, 0.25), count_base_samples(1, 0.25)
    (16, 2, 1)
    """
    return min(batch, max(2, int(share * batch)))


def describe_boundary(logits: Tensor, base: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return how near images are to a boundary, and whether it is that of two classes: (N, K), (N,), (N,) -> (N,), (N,) bool.

    The first is the difference of the two highest probabilities, 0 on a boundary.
    """
    highest = logits.softmax(dim=1).topk(2, dim=1)
    classes = torch.stack([base, target], dim=1)
    between = (highest.indices.sort(dim=1).values == classes.sort(dim=1).values).all(dim=1)
    return highest.values[:, 0] - highest.values[:, 1], between


def select_base_samples(teacher: Tensor, student: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Select the rows to perturb, and whether each is valid: (B, K), (B, K), (B,) -> (count,), (count,) bool.

    A row is valid if teacher and student both predict its label. Rows are ranked by how much the two distributions differ on
    the other classes.
    """
    correct = (teacher.argmax(dim=1) == labels) & (student.argmax(dim=1) == labels)
    difference = (teacher.softmax(dim=1) - student.detach().softmax(dim=1)).square()
    score = difference.scatter(1, labels[:, None], 0.0).sum(dim=1).masked_fill(~correct, -1.0)
    best = score.topk(count)
    return best.indices, best.values >= 0


def sample_target_classes(teacher: Tensor, random: torch.Generator) -> Tensor:
    """Sample a class other than the teacher's prediction, with the teacher's probabilities: (N, K) -> (N,)."""
    first, second = teacher.topk(2, dim=1).indices.T
    probabilities = teacher.softmax(dim=1).scatter(1, first[:, None], 0.0)
    # If the probabilities of all other classes are rounded to zero, the second-ranked class is taken.
    probabilities = probabilities.scatter_add(1, second[:, None], torch.full_like(probabilities[:, :1], 1e-30))
    # As torch.multinomial draws one sample, whose check of the probabilities would synchronise with the device.
    return (probabilities / torch.empty_like(probabilities).exponential_(generator=random)).argmax(dim=1)


def boundary_weights(clock: Clock) -> tuple[float, float]:
    """Return the weights alpha of the soft targets and beta of the boundary loss in the schedule of BSS.

        alpha(e) = 1 + 3 max(0, 1 - e / E),   beta(e) = 2 max(0, 1 - 4 e / (3 E)),   e = 1..E

    >>> [round(weight, 4) for weight in boundary_weights(Clock(0, 80))], boundary_weights(Clock(59, 80))[1]
    ([3.9625, 1.9667], 0.0)
    """
    progress = (clock.epoch + 1) / clock.epochs
    return 1 + 3 * max(0.0, 1 - progress), 2 * max(0.0, 1 - 4 / 3 * progress)
