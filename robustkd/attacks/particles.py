"""Particles around images: several places near each where a network's answer differs, kept apart from one another."""

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def svgd_direction(u: Tensor, score: Tensor, bandwidth: float) -> Tensor:
    """Where particles are sent: up the score, theirs and their neighbours', and apart: (N, n, P), (N, n, P) -> (N, n, P).

    Stein variational gradient descent (arXiv 1608.04471); each of the N groups has a kernel of its own.
    """
    own = torch.eye(u.shape[1], dtype=torch.bool, device=u.device)
    apart = torch.cdist(u, u, compute_mode="donot_use_mm_for_euclid_dist")
    median = apart.masked_fill(own, math.nan).flatten(1).nanquantile(0.5, dim=1)
    h = (bandwidth * median.nan_to_num()).clamp(min=1e-12)[:, None, None]  # one particle alone has no median
    near = torch.exp(-(apart / h).square() / 2)
    others = near.masked_fill(own, 0)
    repulsion = (others.sum(dim=2, keepdim=True) * u - others @ u) / h
    return (near @ score + repulsion) / u.shape[1]


def to_unit_length(v: Tensor) -> Tensor:
    """Scaled to length 1, however small it is; zero stays zero: (..., P) -> (..., P)."""
    tiny = torch.finfo(v.dtype).tiny  # squares of small gradients would be lost before the root is taken
    return F.normalize(v / v.abs().amax(dim=-1, keepdim=True).clamp(min=tiny), dim=-1)


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
    """Images around each image where a network's answer differs: (N, C, H, W) -> (N count, C, H, W), image by image.

    Args:
        logits: (M, C, H, W) -> (M, K), in evaluation mode.
        images: in [0, 1], where what comes back is too.
        random: on the images' device; the first places are drawn from it.
        count: particles of an image.
        step: of `linf`, in radii.
        radius: of the ball about each image, in `unit`s.
        probe: how far out the network is asked, in radii.
        bandwidth: of the kernel, in medians.
        norm: the ball's; in `l2` a step replaces the direction altogether.
        unit: what a length of 1 is in units of the images, per channel (1, C, 1, 1).
    """
    groups, reach = (len(images), count, -1), radius * unit
    around = images.detach().repeat_interleave(count, dim=0)
    with torch.no_grad():
        expected = logits(images).softmax(dim=1).repeat_interleave(count, dim=0)
    u = 2 * torch.rand(around.shape, generator=random, device=images.device) - 1
    if norm == "l2":
        u = to_unit_length(u.reshape(groups)).view_as(u)
    low, high = (-around / reach).clamp(min=-1), ((1 - around) / reach).clamp(max=1)
    for _ in range(steps):
        with torch.enable_grad():
            at = (u if norm == "l2" else u.clamp(low, high)).detach().requires_grad_()
            said = logits(around + probe * reach * at).softmax(dim=1)
            (gradient,) = torch.autograd.grad((said - expected).square().sum(), at)
        at = at.detach()
        phi = svgd_direction(at.reshape(groups), to_unit_length(gradient.reshape(groups)), bandwidth)
        u = to_unit_length(phi).view_as(u) if norm == "l2" else (at + step * phi.sign().view_as(u)).clamp(low, high)
    return (around + reach * u).clamp(0, 1)
