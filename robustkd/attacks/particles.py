"""Adversarial particles: several perturbations per image that change a network's prediction and repel each other."""

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def svgd_direction(u: Tensor, score: Tensor, bandwidth: float) -> Tensor:
    """Compute the update direction of Stein variational gradient descent: (N, n, P), (N, n, P) -> (N, n, P).

    It is the kernel-weighted mean of the scores plus a repulsion between particles (arXiv 1608.04471). Each of the N groups
    has a kernel of its own.
    """
    diagonal = torch.eye(u.shape[1], dtype=torch.bool, device=u.device)
    distance = torch.cdist(u, u, compute_mode="donot_use_mm_for_euclid_dist")
    median = distance.masked_fill(diagonal, math.nan).flatten(1).nanquantile(0.5, dim=1)
    h = (bandwidth * median.nan_to_num()).clamp(min=1e-12)[:, None, None]  # a single particle has no median
    kernel = torch.exp(-(distance / h).square() / 2)
    others = kernel.masked_fill(diagonal, 0)
    repulsion = (others.sum(dim=2, keepdim=True) * u - others @ u) / h
    return (kernel @ score + repulsion) / u.shape[1]


def to_unit_length(v: Tensor) -> Tensor:
    """Scale vectors of any magnitude to length 1, leaving zero vectors: (..., P) -> (..., P)."""
    tiny = torch.finfo(v.dtype).tiny  # without the first division, the squares of small gradients would underflow
    return F.normalize(v / v.abs().amax(dim=-1, keepdim=True).clamp(min=tiny), dim=-1)


def _disagreement_gradient(
    logits: Callable[[Tensor], Tensor], centres: Tensor, u: Tensor, reach: Tensor | float, clean: Tensor
) -> Tensor:
    """Return the gradient by u of ||p(centres + reach u) - clean||^2, summed over images: like u."""
    with torch.enable_grad():
        leaf = u.requires_grad_()
        perturbed = logits(centres + reach * leaf).softmax(dim=1)
        (gradient,) = torch.autograd.grad((perturbed - clean).square().sum(), leaf)
    u.requires_grad_(False)
    return gradient


def sample_particles(
    logits: Callable[[Tensor], Tensor],
    images: Tensor,
    random: torch.Generator,
    *,
    count: int,
    steps: int,
    step: float,
    radius: float,
    probe: float = 1.0,
    bandwidth: float = 1.0,
    norm: Literal["linf", "l2"] = "linf",
    unit: Tensor | float = 1.0,
) -> Tensor:
    """Sample perturbed images whose predictions differ: (N, C, H, W) in [0, 1] -> (N count, C, H, W), grouped by image.

    Args:
        logits: (M, C, H, W) -> (M, K), in evaluation mode.
        random: generator of the initial particles, on the device of the images.
        count: particles per image.
        step: step size for `linf`, in radii.
        radius: of the ball around each image, in `unit`s.
        probe: distance at which the network is evaluated, in radii.
        bandwidth: of the kernel, in medians.
        norm: of the ball; in `l2` a step replaces the direction.
        unit: a length of 1 in image units, per channel (1, C, 1, 1).
    """
    groups, reach, centres = (len(images), count, -1), radius * unit, images.detach().repeat_interleave(count, dim=0)
    with torch.no_grad():
        clean = logits(images).softmax(dim=1).repeat_interleave(count, dim=0)
    u = 2 * torch.rand(centres.shape, generator=random, device=images.device) - 1
    if norm == "l2":
        u = to_unit_length(u.reshape(groups)).view_as(u)
    low, high = (-centres / reach).clamp(min=-1), ((1 - centres) / reach).clamp(max=1)
    for _ in range(steps):
        u = (u if norm == "l2" else u.clamp(low, high)).detach()
        gradient = _disagreement_gradient(logits, centres, u, probe * reach, clean)
        phi = svgd_direction(u.reshape(groups), to_unit_length(gradient.reshape(groups)), bandwidth)
        u = to_unit_length(phi).view_as(u) if norm == "l2" else (u + step * phi.sign().view_as(u)).clamp(low, high)
    return (centres + reach * u).clamp(0, 1)
