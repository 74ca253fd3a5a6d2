"""jda: joint data augmentation. Li et al., "What Role Does Data Augmentation Play in Knowledge Distillation?", ACCV 2022.

Fourteen operations in one order, each by a coin: p is 0.5 for CIFAR-10, 0.3 for CIFAR-100, 0.2 for ImageNet in the authors'
code. How strong each is, is drawn evenly from the ranges usual since AutoAugment (arXiv 1805.09501): posterize to 8-4 bits,
solarize from 256-1, translate by 150/331 of the side, shear by 0.3, rotate by 30 degrees, and brightness, sharpness, colour
and contrast times 1 +- 0.9; both directions are as likely. A size in [0, 1) says how strong: nothing is 1/2 where there is a
direction and 0 where there is none. Places are looked up as their nearest pixel, as AutoAugment does, so that no grey is
made up and what does not move stays bit for bit; what comes in from outside is zero.

Departs from the authors' code: strengths are drawn from a whole range, not from ten levels of it; translations and shears,
which follow one another, are looked up at once, so that what one pushes out of the frame the next may bring back; bytes
are rounded, not cut. Images may have any number of channels; those without three have no colour to change.
"""

from collections.abc import Callable
from math import radians

import torch
from torch import Tensor

from robustkd.types import Share

# An operation takes planes (B, C, H, W) uint8 and sizes (B, 1, 1, 1), and gives planes. It is computed for the whole batch
# and kept where the coin says so: no loop over images, and nothing that a GPU has to wait for.


def autocontrast(planes: Tensor, _: Tensor) -> Tensor:
    """Stretch each channel to 0-255; one of a single level stays."""
    low, high = planes.amin((2, 3), keepdim=True), planes.amax((2, 3), keepdim=True)
    flat = low == high
    low, high = low.masked_fill(flat, 0), high.masked_fill(flat, 255)
    return to_uint8((planes - low).float().mul_(255 / (high - low)))


def contrast(planes: Tensor, size: Tensor) -> Tensor:
    """Towards the image's mean grey, or away from it."""
    light = to_grey(planes)
    # Summed as integers: a mean of floats would hang on the order of summing, and so on the batch.
    return blend(planes, light.sum((1, 2, 3), keepdim=True) / light[0].numel(), size)


def posterize(planes: Tensor, size: Tensor) -> Tensor:
    """Drop the lowest 0 to 4 bits."""
    return planes & (256 - 2 ** (5 * size).int()).to(torch.uint8)


def solarize(planes: Tensor, size: Tensor) -> Tensor:
    """Invert what is bright."""
    return where_uint8(planes > 255 - (256 * size).to(torch.uint8), 255 - planes, planes)


def translate_and_shear(planes: Tensor, by_x: Tensor, by_y: Tensor, along_x: Tensor, along_y: Tensor) -> Tensor:
    """Translate along x and y, then shear along x and y about the first corner."""
    _, _, H, W = planes.shape
    a, b, most = to_signed(along_x, 0.3), to_signed(along_y, 0.3), 150 / 331
    return sample_nearest(
        planes, (1 + a * b, a, to_signed(by_x, most * W)), (b, torch.ones_like(b), to_signed(by_y, most * H))
    )


def brightness(planes: Tensor, size: Tensor) -> Tensor:
    """Towards black, or away from it."""
    return blend(planes, torch.zeros_like(size), size)


def sharpness(planes: Tensor, size: Tensor) -> Tensor:
    """Towards a smoothed image, or away from it; the outermost pixels stay."""
    x = planes.to(torch.int16)
    inner, rows = x[:, :, 1:-1, 1:-1], x[:, :, :-2] + x[:, :, 1:-1] + x[:, :, 2:]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * inner  # each neighbour once, the pixel five times
    result = planes.clone()
    result[:, :, 1:-1, 1:-1] = blend(inner, total / 13, size)
    return result


def invert(planes: Tensor, _: Tensor) -> Tensor:
    """Light for dark."""
    return 255 - planes


def colour(planes: Tensor, size: Tensor) -> Tensor:
    """Towards grey, or away from it."""
    return blend(planes, to_grey(planes), size) if planes.shape[1] == 3 else planes


def equalize(planes: Tensor, _: Tensor) -> Tensor:
    """Make each channel's levels equally frequent as PIL does: with fewer than 255 pixels below its top level, one stays."""
    flat = planes.flatten(2).long()
    counts = flat.new_zeros(*flat.shape[:2], 256, dtype=torch.int32)
    counts.scatter_add_(2, flat, counts.new_ones(1).expand_as(flat))
    below = counts.cumsum(2, dtype=torch.int32) - counts  # how many pixels are darker than a level
    step = below.gather(2, flat.amax(2, keepdim=True)) // 255
    levels = ((below + step // 2) // step.clamp(min=1)).clamp_(max=255).to(torch.uint8)
    return where_uint8(step[..., None] > 0, levels.gather(2, flat).view_as(planes), planes)


def rotate(planes: Tensor, size: Tensor) -> Tensor:
    """Turn about the centre, positive angles to the left."""
    h, w = planes.shape[2:]
    cos, sin = (angle := to_signed(size, radians(30))).cos(), angle.sin()
    return sample_nearest(planes, (cos, -sin, (w - w * cos + h * sin) / 2), (sin, cos, (h - w * sin - h * cos) / 2))


# In the order of the authors' code, with how many of the fourteen each stands for.
OPERATIONS: tuple[tuple[Callable[..., Tensor], int], ...] = (
    *(
        (autocontrast, 1),
        (contrast, 1),
        (posterize, 1),
        (solarize, 1),
        (translate_and_shear, 4),
        (brightness, 1),
        (sharpness, 1),
    ),
    *((invert, 1), (colour, 1), (equalize, 1), (rotate, 1)),
)
NUM_OPERATIONS = sum(count for _, count in OPERATIONS)


class JDA:
    """The fourteen operations, each by chance."""

    draws = 2 * NUM_OPERATIONS  # coins, then sizes

    def __init__(self, *, probability: Share = 0.5) -> None:
        self.probability = probability

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        planes = images.permute(0, 3, 1, 2).contiguous()  # a plane that lies in one piece is summed and shifted fast
        draws = draws.T[..., None, None, None]  # (28, B, 1, 1, 1)
        coins = draws[:NUM_OPERATIONS] < self.probability
        sizes = torch.where(coins, draws[NUM_OPERATIONS:], 0.5)  # what displace shall leave out is nothing then
        at = 0
        for operation, count in OPERATIONS:
            own = slice(at, at := at + count)
            planes = where_uint8(coins[own].any(0), operation(planes, *sizes[own]), planes)
        return planes.permute(0, 2, 3, 1).contiguous()


def to_signed(size: Tensor, most: float) -> Tensor:
    """[0, 1) to [-most, most)."""
    return (2 * size - 1) * most


def to_uint8(x: Tensor) -> Tensor:
    """To bytes, rounded."""
    return x.round_().clamp_(0, 255).to(torch.uint8)


def where_uint8(chosen: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """torch.where for bytes, in a tenth of its time on a CPU: the sum undoes what wraps in the difference."""
    return old + (new - old) * chosen


def to_grey(planes: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, 1, H, W) int32 in 0-255: the luma of three channels, in 2^16ths as PIL has it; else the mean."""
    x = planes.int()
    if planes.shape[1] == 3:
        return (19595 * x[:, :1] + 38470 * x[:, 1:2] + 7471 * x[:, 2:] + 32768) >> 16
    return x.sum(1, keepdim=True, dtype=torch.int32) // planes.shape[1]


def blend(x: Tensor, plain: Tensor, size: Tensor) -> Tensor:
    """From `plain` towards x and beyond, by a factor from 0.1 to 1.9."""
    return to_uint8(x.float().mul_(factor := 1 + to_signed(size, 0.9)).add_(plain * (1 - factor)))


def sample_nearest(
    planes: Tensor, across: tuple[Tensor, Tensor, Tensor], down: tuple[Tensor, Tensor, Tensor]
) -> Tensor:
    """Each place (x, y) as it is at (a x + b y + c, d x + e y + f), in pixels from the first corner."""
    _, C, H, W = planes.shape
    x, y = (torch.arange(n, device=planes.device) + 0.5 for n in (W, H))
    # Sums and products, no matrix: one in TF32 would be off by whole pixels.
    column, row = ((a * x + c + b * y[:, None]).floor_() for a, b, c in (across, down))  # (B, 1, H, W)
    nearest, beside = column.clamp(0, W - 1), row.clamp(0, H - 1)
    place = (beside * W + nearest).long().flatten(2).expand(-1, C, -1)
    return planes.flatten(2).gather(2, place).view_as(planes) * ((nearest == column) & (beside == row))
