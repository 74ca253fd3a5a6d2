"""jda_policy: joint data augmentation with the operations of the authors' code, as Pillow computes them.

Li et al., "What Role Does Data Augmentation Play in Knowledge Distillation?", ACCV 2022. A policy is a list of operations in a
fixed order, each applied with probability p. Their strengths are constants, not drawn: level 0 to 9 of AutoAugment's ranges
(arXiv 1805.09501), so that `rotate 2` is 6.67 degrees and `translate_y 3` is 0.151 of the height. Shears, translations and
blends have a random sign; rotations always go the same way. Pixels from outside are grey, 128. Shears are bicubic, the other
geometric operations sample the nearest pixel.

| policy | operations | p in the authors' code |
|---|---|---|
| `cifar10` | fourteen different ones | 0.5 |
| `cifar100` | the same in another order and at other levels; posterize and shear_y at level 0 change nothing | 0.3 |
| `imagenet` | twenty-five, some of them several times, and no translation | 0.2 |

Differs from the authors' code: images may have any number of channels, where grey is their mean unless there are three; colour
applies to three channels only.
"""

from collections.abc import Callable
from math import cos, floor, radians, sin
from typing import Literal

import torch
from torch import Tensor

from robustkd.data.jda import equalize, invert, to_grey, where_uint8
from robustkd.types import Share

FILL = 128  # the grey of pixels from outside

# An operation maps uint8 planes (B, C, H, W), a level and signs (B, 1, 1, 1) of +1 or -1 to planes. It is computed for the
# whole batch and used for the images that are to be changed: no loop over images, and no synchronisation with a GPU.
Operation = Callable[[Tensor, int, Tensor], Tensor]


def stretch_contrast(planes: Tensor, level: int, sign: Tensor) -> Tensor:
    """Stretch each channel to 0-255; a channel of a single level is unchanged."""
    low, high = planes.amin((2, 3), keepdim=True), planes.amax((2, 3), keepdim=True)
    # A quotient of tensors: a number divided by a tensor is computed by its reciprocal, which rounds differently.
    scale = torch.full_like(low, 255, dtype=torch.float64) / (high - low).clamp(min=1)
    stretched = (planes.double() * scale - low.double() * scale).clamp_(0, 255).to(torch.uint8)
    return where_uint8(high > low, stretched, planes)


def blend_with_mean(planes: Tensor, level: int, sign: Tensor) -> Tensor:
    """Blend with the image's mean grey level, or away from it."""
    grey = to_grey(planes)
    count = grey[0].numel()
    return blend_bytes(planes, (2 * grey.sum((1, 2, 3), keepdim=True) + count) // (2 * count), level, sign)


def blend_with_black(planes: Tensor, level: int, sign: Tensor) -> Tensor:
    """Blend with black, or away from it."""
    return blend_bytes(planes, torch.zeros_like(planes, dtype=torch.int32), level, sign)


def blend_with_grey(planes: Tensor, level: int, sign: Tensor) -> Tensor:
    """Blend with greyscale, or away from it."""
    return blend_bytes(planes, to_grey(planes), level, sign) if planes.shape[1] == 3 else planes


def blend_with_smoothed(planes: Tensor, level: int, sign: Tensor) -> Tensor:
    """Blend with a smoothed image, or away from it; border pixels are unchanged."""
    x = planes.int()
    rows = x[:, :, :-2] + x[:, :, 1:-1] + x[:, :, 2:]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * x[:, :, 1:-1, 1:-1]  # weight 5 for the pixel itself
    smooth = x.clone()
    smooth[:, :, 1:-1, 1:-1] = (2 * total + 13) // 26  # rounded
    return blend_bytes(planes, smooth, level, sign)


def blend_bytes(planes: Tensor, plain: Tensor, level: int, sign: Tensor) -> Tensor:
    """Interpolate from the bytes `plain` to the planes, or extrapolate, by a factor of 1 +- 0.1 level; cut to bytes."""
    factor = torch.where(sign > 0, 1 + 0.9 * level / 9, 1 - 0.9 * level / 9)
    return (plain + factor * (planes - plain)).clamp_(0, 255).to(torch.uint8)


def clear_low_bits(planes: Tensor, level: int, sign: Tensor) -> Tensor:
    """Drop the lowest 0 to 4 bits."""
    return planes & (256 - (1 << (8 - round(8 - 4 * level / 9))))


def invert_above(planes: Tensor, level: int, sign: Tensor) -> Tensor:
    """Invert the values from a threshold on."""
    return where_uint8(planes >= 256 * (1 - level / 9), 255 - planes, planes)


def translate_x(planes: Tensor, level: int, sign: Tensor) -> Tensor:
    """Move along x by up to 150/331 of the width."""
    W = planes.shape[3]
    far = 150 / 331 * level / 9 * W
    by = torch.where(sign > 0, floor(0.5 + far), floor(0.5 - far))
    columns = torch.arange(W, device=planes.device) + by
    rows = torch.arange(planes.shape[2], device=planes.device)[:, None]
    return sample_or_fill(planes, columns, rows)


def shear_x(planes: Tensor, level: int, sign: Tensor) -> Tensor:
    """Shear along x about the top left corner by a slope of up to 0.3, with bicubic interpolation between columns."""
    H, W = planes.shape[2:]
    x, y = (torch.arange(n, device=planes.device, dtype=torch.float64) + 0.5 for n in (W, H))
    at = x + (level * (0.3 / 9) * sign.double()) * y[:, None]  # (B, 1, H, W)
    left = (at - 0.5).floor()
    a, b, c, d = (_gather(planes, (left.long() + step).clamp(0, W - 1)).int() for step in (-1, 0, 1, 2))
    t = at - 0.5 - left
    values = b + t * ((c - a) + t * (2 * (a - b) + c - d + t * (b - a + d - c)))
    return torch.where((at >= 0) & (at < W), values.clamp_(0, 255).to(torch.uint8), FILL)


def _gather(planes: Tensor, columns: Tensor) -> Tensor:
    """Return the pixels of these columns of each row: (B, C, H, W), (B, 1, H, W) -> (B, C, H, W)."""
    return planes.gather(3, columns.expand(-1, planes.shape[1], -1, -1))


def rotate_counter_clockwise(planes: Tensor, level: int, sign: Tensor) -> Tensor:
    """Rotate about the centre by up to 30 degrees, counter-clockwise."""
    H, W = planes.shape[2:]
    angle = -radians(30 * level / 9)
    c, s = cos(angle), sin(angle)
    x, y = torch.arange(W, device=planes.device), torch.arange(H, device=planes.device)[:, None]
    # In multiples of 1/65536 pixels, as in Pillow, whose results are then met bit for bit.
    across, down = (
        [floor(value * 65536 + 0.5) for value in (a, b, offset + a / 2 + b / 2)]
        for a, b, offset in ((c, s, W / 2 - c * W / 2 - s * H / 2), (-s, c, H / 2 + s * W / 2 - c * H / 2))
    )
    columns, rows = ((a * x + b * y + offset) >> 16 for a, b, offset in (across, down))
    return sample_or_fill(planes, columns, rows)


def sample_or_fill(planes: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
    """Return the pixels at these positions, and grey for those outside: (B, C, H, W), (..., H, W) int64 each."""
    B, C, H, W = planes.shape
    inside = (columns >= 0) & (columns < W) & (rows >= 0) & (rows < H)
    index = (rows.clamp(0, H - 1) * W + columns.clamp(0, W - 1)).expand(B, C, H, W).flatten(2)
    return torch.where(inside, planes.flatten(2).gather(2, index).view_as(planes), FILL)


def along_y(operation: Operation) -> Operation:
    """Return the operation along y that corresponds to one along x."""
    return lambda planes, level, sign: operation(planes.mT, level, sign).mT


OPERATIONS: dict[str, Operation] = {
    "autocontrast": stretch_contrast,
    "contrast": blend_with_mean,
    "posterize": clear_low_bits,
    "solarize": invert_above,
    "translate_x": translate_x,
    "translate_y": along_y(translate_x),
    "shear_x": shear_x,
    "shear_y": along_y(shear_x),
    "brightness": blend_with_black,
    "sharpness": blend_with_smoothed,
    "invert": lambda planes, level, sign: invert(planes, sign),
    "colour": blend_with_grey,
    "equalize": lambda planes, level, sign: equalize(planes, sign),
    "rotate": rotate_counter_clockwise,
}
# Operations in the authors' order with their levels.
POLICIES = {
    "cifar10": "invert 7, rotate 2, shear_y 8, posterize 9, autocontrast 8, colour 3, sharpness 9, equalize 5, contrast 7,"
    " translate_y 3, brightness 6, solarize 2, translate_x 3, shear_x 8",
    "cifar100": "autocontrast 2, contrast 3, posterize 0, solarize 4, translate_y 8, shear_x 5, brightness 3, shear_y 0,"
    " translate_x 1, sharpness 5, invert 4, colour 4, equalize 8, rotate 3",
    "imagenet": "posterize 8, solarize 5, equalize 8, posterize 7, equalize 7, equalize 4, solarize 3, posterize 5, rotate 3,"
    " equalize 8, rotate 8, rotate 9, equalize 7, invert 4, colour 4, rotate 8, colour 8, sharpness 7, shear_x 5, colour 0,"
    " equalize 7, solarize 5, invert 4, colour 4, equalize 8",
}


class JDAPolicy:
    """The operations of a policy, each applied at random.

    Args:
        policy: which operations, in which order, at which levels.
        probability: of each operation.
    """

    def __init__(
        self, *, policy: Literal["cifar10", "cifar100", "imagenet"] = "cifar10", probability: Share = 0.5
    ) -> None:
        self.probability = probability
        self.steps = [(name, int(level)) for name, level in map(str.split, POLICIES[policy].split(","))]

    @property
    def draws(self) -> int:
        """Uniform random numbers needed per image: decisions, then signs."""
        return 2 * len(self.steps)

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        planes = images.permute(0, 3, 1, 2).contiguous()
        applied, signs = draws.T[..., None, None, None].chunk(2)  # (number of steps, B, 1, 1, 1) each
        signs = torch.where(signs < 0.5, -1, 1)
        for (name, level), chosen, sign in zip(self.steps, applied < self.probability, signs, strict=True):
            planes = where_uint8(chosen, OPERATIONS[name](planes, level, sign), planes)
        return planes.permute(0, 2, 3, 1).contiguous()
