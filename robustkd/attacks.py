"""Perturbations of images: pure functions of a network and images. Parameters, their gradients and modes stay as they are."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Walked(NamedTuple):
    """Where images came to that were walked towards a class."""

    images: Tensor  # (N, C, H, W)
    crossed: Tensor  # (N,) bool, whether the network now says the class aimed at
    astray: Tensor  # (N,) bool, whether it says a third class


def towards(
    logits: Callable[[Tensor], Tensor],
    images: Tensor,
    base: Tensor,
    target: Tensor,
    *,
    unit: Tensor | float = 1.0,
    steps: int = 10,
    step: float = 0.3,
    beyond: float = 1e-4,
    bounds: tuple[float, float] | None = (0.0, 1.0),
) -> Walked:
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
            gap = _at(z, base) - _at(z, target)
            (gradient,) = torch.autograd.grad(gap.sum(), x)
            resting = resting | (z.argmax(dim=1) != base)
            g = gradient * unit
            length = g.flatten(1).norm(dim=1).clamp(min=1e-12)
            stride = torch.where(resting, 0.0, step * (gap.detach() + beyond) / length)
            moved = moved - stride.view(-1, 1, 1, 1) * g * unit
            moved = moved if bounds is None else moved.clamp(*bounds)
    with torch.no_grad():
        said = logits(moved).argmax(dim=1)
    return Walked(moved, said == target, (said != target) & (said != base))


def _at(z: Tensor, which: Tensor) -> Tensor:
    return z.gather(1, which[:, None])[:, 0]
