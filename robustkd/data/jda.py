"""jda: joint data augmentation with random strengths, after Li et al., ACCV 2022; jda_policy has the constants of their code.

Fourteen operations in a fixed order, each applied with probability p. The strength of each is drawn uniformly from the ranges
usual since AutoAugment (arXiv 1805.09501): posterize
to 8-4 bits, solarize from 256-1, translate by 150/331 of the side, shear by 0.3, rotate by 30 degrees, and brightness,
sharpness, colour and contrast times 1 +- 0.9; both directions are equally likely. A `size` in [0, 1) determines the strength:
the neutral value is 1/2 for operations with a direction and 0 for the others. Geometric operations sample the nearest pixel, as
AutoAugment does, so that no grey levels are created and an image that does not move is unchanged bit for bit; pixels from
outside are zero.

Differs from the authors' code, where the strength of an operation is one constant, such as a rotation by 6.67 degrees: here it
is drawn for each image, from the whole range and in both directions. The order is one for all data sets; pixels from outside
are black, not grey; shears sample the nearest pixel, theirs are bicubic; translations and shears, which are consecutive, are
sampled once as their composition, so that a later one may bring back what an earlier one moved out of the frame; values are
rounded to bytes, not truncated. Images may have any number of channels; colour applies to three only.
"""

from collections.abc import Callable
from math import radians

import torch
from torch import Tensor

from robustkd.types import Share

# An operation maps uint8 planes (B, C, H, W) and sizes (B, 1, 1, 1) to planes. It is computed for the whole batch and used for
# the images that are to be changed: no loop over images, and no synchronisation with a GPU.


def autocontrast(planes: Tensor, _: Tensor) -> Tensor:
    """Stretch each channel to 0-255; a channel of a single level is unchanged."""
    low, high = planes.amin((2, 3), keepdim=True), planes.amax((2, 3), keepdim=True)
    flat = low == high
    low, high = low.masked_fill(flat, 0), high.masked_fill(flat, 255)
    return to_uint8((planes - low).float().mul_(255 / (high - low)))


def contrast(planes: Tensor, size: Tensor) -> Tensor:
    """Blend with the image's mean grey level, or away from it."""
    grey = to_grey(planes)
    # Summed as integers: the mean of floats would depend on the order of summation, and so on the batch.
    return blend(planes, grey.sum((1, 2, 3), keepdim=True) / grey[0].numel(), size)


def posterize(planes: Tensor, size: Tensor) -> Tensor:
    """Drop the lowest 0 to 4 bits."""
    return planes & (256 - 2 ** (5 * size).int()).to(torch.uint8)


def solarize(planes: Tensor, size: Tensor) -> Tensor:
    """Invert the values above a threshold."""
    return where_uint8(planes > 255 - (256 * size).to(torch.uint8), 255 - planes, planes)


def translate_and_shear(planes: Tensor, by_x: Tensor, by_y: Tensor, along_x: Tensor, along_y: Tensor) -> Tensor:
    """Translate along x and y, then shear along x and y about the top left corner."""
    _, _, H, W = planes.shape
    a, b, limit = to_signed(along_x, 0.3), to_signed(along_y, 0.3), 150 / 331
    return sample_nearest(
        planes, (1 + a * b, a, to_signed(by_x, limit * W)), (b, torch.ones_like(b), to_signed(by_y, limit * H))
    )


def brightness(planes: Tensor, size: Tensor) -> Tensor:
    """Blend with black, or away from it."""
    return blend(planes, torch.zeros_like(size), size)


def sharpness(planes: Tensor, size: Tensor) -> Tensor:
    """Blend with a smoothed image, or away from it; border pixels are unchanged."""
    x = planes.to(torch.int16)
    inner, rows = x[:, :, 1:-1, 1:-1], x[:, :, :-2] + x[:, :, 1:-1] + x[:, :, 2:]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * inner  # weight 1 for each neighbour, 5 for the pixel
    result = planes.clone()
    result[:, :, 1:-1, 1:-1] = blend(inner, total / 13, size)
    return result


def invert(planes: Tensor, _: Tensor) -> Tensor:
    """Invert all values."""
    return 255 - planes


def colour(planes: Tensor, size: Tensor) -> Tensor:
    """Blend with greyscale, or away from it."""
    return blend(planes, to_grey(planes), size) if planes.shape[1] == 3 else planes


def equalize(planes: Tensor, _: Tensor) -> Tensor:
    """Equalise each channel's histogram as PIL does: a channel with fewer than 255 pixels below its top level is unchanged."""
    flat = planes.flatten(2).long()
    counts = flat.new_zeros(*flat.shape[:2], 256, dtype=torch.int32)
    counts.scatter_add_(2, flat, counts.new_ones(1).expand_as(flat))
    below = counts.cumsum(2, dtype=torch.int32) - counts  # number of pixels darker than each level
    step = below.gather(2, flat.amax(2, keepdim=True)) // 255
    levels = ((below + step // 2) // step.clamp(min=1)).clamp_(max=255).to(torch.uint8)
    return where_uint8(step[..., None] > 0, levels.gather(2, flat).view_as(planes), planes)


def rotate(planes: Tensor, size: Tensor) -> Tensor:
    """Rotate about the centre, counter-clockwise for positive angles."""
    h, w = planes.shape[2:]
    cos, sin = (angle := to_signed(size, radians(30))).cos(), angle.sin()
    return sample_nearest(planes, (cos, -sin, (w - w * cos + h * sin) / 2), (sin, cos, (h - w * sin - h * cos) / 2))


# In the order of the authors' code for CIFAR-100, nearly; each with the number of the fourteen that it comprises.
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
    """The fourteen operations, each applied at random.

    Args:
        probability: of each operation.
    """

    draws = 2 * NUM_OPERATIONS  # decisions, then sizes

    def __init__(self, *, probability: Share = 0.5) -> None:
        self.probability = probability

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        planes = images.permute(0, 3, 1, 2).contiguous()  # contiguous planes are summed and shifted faster
        draws = draws.T[..., None, None, None]  # (28, B, 1, 1, 1)
        applied = draws[:NUM_OPERATIONS] < self.probability
        sizes = torch.where(applied, draws[NUM_OPERATIONS:], 0.5)  # neutral for the parts of translate_and_shear
        at = 0
        for operation, count in OPERATIONS:
            own = slice(at, at := at + count)
            planes = where_uint8(applied[own].any(0), operation(planes, *sizes[own]), planes)
        return planes.permute(0, 2, 3, 1).contiguous()


def to_signed(size: Tensor, limit: float) -> Tensor:
    """Map [0, 1) to [-limit, limit)."""
    return (2 * size - 1) * limit


def to_uint8(x: Tensor) -> Tensor:
    """Round to bytes."""
    return x.round_().clamp_(0, 255).to(torch.uint8)


def where_uint8(chosen: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """torch.where for uint8, ten times faster on a CPU: the wrap-around of the difference cancels in the sum."""
    return old + (new - old) * chosen


def to_grey(planes: Tensor) -> Tensor:
    """Convert to grey levels in 0-255, int32: PIL's fixed-point luma of three channels, or else the mean.

    (B, C, H, W) -> (B, 1, H, W).
    """
    x = planes.int()
    if planes.shape[1] == 3:
        return (19595 * x[:, :1] + 38470 * x[:, 1:2] + 7471 * x[:, 2:] + 32768) >> 16
    return x.sum(1, keepdim=True, dtype=torch.int32) // planes.shape[1]


def blend(x: Tensor, plain: Tensor, size: Tensor) -> Tensor:
    """Interpolate from `plain` to x, or extrapolate beyond it, by a factor of 0.1 to 1.9."""
    return to_uint8(x.float().mul_(factor := 1 + to_signed(size, 0.9)).add_(plain * (1 - factor)))


def sample_nearest(
    planes: Tensor, across: tuple[Tensor, Tensor, Tensor], down: tuple[Tensor, Tensor, Tensor]
) -> Tensor:
    """Sample each pixel (x, y) at (a x + b y + c, d x + e y + f), in pixels from the top left corner; zero outside.

    Args:
        planes: (B, C, H, W).
        across: a, b and c, (B, 1, 1, 1) each.
        down: d, e and f.
    """
    _, C, H, W = planes.shape
    x, y = (torch.arange(n, device=planes.device) + 0.5 for n in (W, H))
    # Sums and products instead of a matrix product, whose errors in TF32 would be whole pixels.
    column, row = ((a * x + c + b * y[:, None]).floor_() for a, b, c in (across, down))  # (B, 1, H, W)
    inner_column, inner_row = column.clamp(0, W - 1), row.clamp(0, H - 1)
    index = (inner_row * W + inner_column).long().flatten(2).expand(-1, C, -1)
    return planes.flatten(2).gather(2, index).view_as(planes) * ((inner_column == column) & (inner_row == row))
