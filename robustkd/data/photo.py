"""photo: the augmentation of photographs: random resized crops, flips, colours, one random operation, and erasing.

* A random resized crop: a share of the stored image's area, from `crop` to 1, with an aspect ratio of 3/4 to 4/3, is resized to
  the size that networks see. Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, arXiv 1409.4842.
* Flips with probability 1/2, where the data set says that they keep the class.
* Brightness, contrast and saturation times 1 +- `colour`. Howard, "Some Improvements on Deep Convolutional Neural Network Based
  Image Classification", arXiv 1312.5402.
* One operation per image, with a random strength of up to `policy` times the ranges usual since AutoAugment (arXiv 1805.09501).
  Mueller and Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation", ICCV 2021, arXiv 2103.10158.
* With probability `erasing`, a rectangle of 2 to 33 % of the area takes the image's mean colour. Zhong et al., "Random Erasing
  Data Augmentation", AAAI 2020, arXiv 1708.04896.

All changes of position are one affine map, by which each image is sampled once, and those of colours are one affine map of its
channels, so that a batch is augmented in a few passes over its pixels.

Departures from the papers: the aspect ratio of a crop that would be larger than the image is brought closer to the image's.
Sampling is bilinear without antialiasing, and pixels from outside are reflections. TrivialAugment's equalize and sharpness are
left out, as they are no such maps (`--transform jda` has them), and its strengths are continuous. Colours are clipped once, at
the end. Mean colours and extremes are those of every fourth pixel in both directions.
"""

from functools import cache
from math import log, radians
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor

from robustkd.data.augment import Shape
from robustkd.types import Share

# The random numbers of an image: crop, flip, colours, operation, erasing.
PARTS = (slice(0, 4), slice(4, 5), slice(5, 8), slice(8, 10), slice(10, 15))
DRAWS = PARTS[-1].stop
ASPECT, ERASED_ASPECT = 4 / 3, 10 / 3  # largest; the smallest is the inverse
MIN_ERASED, MAX_ERASED = 0.02, 1 / 3
ANGLE, SHEAR, TRANSLATION, FACTOR = radians(30), 0.3, 150 / 331, 0.9  # of the policy's operations at full strength
OPERATIONS = (
    *("identity", "rotate", "shear_x", "shear_y", "translate_x", "translate_y"),
    *("brightness", "contrast", "saturation", "autocontrast", "posterize", "solarize"),
)
STRIDE = 4
CACHED_PIXELS = 1 << 20  # augmented at once on a CPU, whose caches hold the intermediate results
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601

Theta = tuple[tuple[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]  # of x' = a x + b y + c, y' = d x + e y + f


class Photo:
    """Random resized crops, flips, colour jitter, one random operation per image, and random erasing.

    Args:
        crop: smallest share of the image's area that a crop covers.
        colour: by which share brightness, contrast and saturation are increased or decreased at most.
        policy: largest strength of the random operation: 1 rotates by 30 degrees, shears by 0.3, ...; 0 for none.
        erasing: probability that a rectangle is erased.
    """

    def __init__(
        self,
        *,
        crop: Annotated[float, Interval(gt=0, le=1)] = 0.35,
        colour: Share = 0.4,
        policy: Share = 0.5,
        erasing: Share = 0.25,
    ) -> None:
        self.crop, self.colour, self.policy, self.erasing = crop, colour, policy, erasing

    def draw(self, count: int, shape: Shape, generator: torch.Generator) -> Tensor:
        return torch.rand(count, DRAWS, generator=generator)

    def apply(self, images: Tensor, drawn: Tensor, shape: Shape, flips: bool) -> Tensor:
        count = max(1, CACHED_PIXELS // images[0, ..., 0].numel()) if images.device.type == "cpu" else len(images)
        parts = zip(torch.split(images, count), torch.split(drawn, count), strict=True)
        return torch.cat([self._augment(*part, shape, flips) for part in parts])

    def _augment(self, images: Tensor, drawn: Tensor, shape: Shape, flips: bool) -> Tensor:
        crop, flip, colour, operation, erasing = (drawn.T[part] for part in PARTS)
        strengths = self.draw_operation(operation)
        theta = crop_map(crop, self.crop, images.shape[1], images.shape[2])
        if flips:
            theta = compose(theta, flip_map(flip[0] < 0.5))
        theta = compose(theta, operation_map(strengths, shape))
        x = sample(images.permute(0, 3, 1, 2).float(), theta, shape)
        sampled = images[:, ::STRIDE, ::STRIDE].permute(0, 3, 1, 2).flatten(2).float()
        x, mean = change_colours(x, sampled, 1 + (2 * colour - 1) * self.colour, strengths)
        x = x.clamp_(0, 255).to(torch.uint8)
        x = invert_bright(drop_bits(x, strengths["posterize"]), strengths["solarize"])
        if self.erasing:
            x = erase(x, erasing, self.erasing, mean)
        return x.permute(0, 2, 3, 1).contiguous()

    def draw_operation(self, draws: Tensor) -> dict[str, Tensor]:
        """Return the strength of every operation, 0 for all but one: uniform in +- policy, (2, B) -> (B,) each."""
        number = (draws[0] * len(OPERATIONS)).int()
        strength = (2 * draws[1] - 1) * self.policy
        return {name: strength * (number == index) for index, name in enumerate(OPERATIONS)}


def crop_map(draws: Tensor, least: float, h: int, w: int) -> Theta:
    """Map the output to random crops of an image of (h, w) pixels, both in coordinates from -1 to 1: draws (4, B)."""
    area = least + (1 - least) * draws[0]
    ratio = ((2 * draws[1] - 1) * log(ASPECT)).exp()  # width by height, in pixels
    ratio = ratio.clamp(area * w / h, w / (area * h))
    width, height = (area * ratio * h / w).sqrt(), (area / ratio * w / h).sqrt()  # as shares of the image's
    x, y = (1 - width) * (2 * draws[2] - 1), (1 - height) * (2 * draws[3] - 1)
    zero = torch.zeros_like(area)
    return (width, zero, x), (zero, height, y)


def flip_map(flipped: Tensor) -> Theta:
    """Mirror the selected images left to right: (B,) bool."""
    sign = 1 - 2 * flipped.float()
    zero, one = torch.zeros_like(sign), torch.ones_like(sign)
    return (sign, zero, zero), (zero, one, zero)


def operation_map(strengths: dict[str, Tensor], shape: Shape) -> Theta:
    """Rotate, shear or translate, about the centre of the output."""
    aspect = shape[1] / shape[2]  # a rotation is one of pixels
    angle = ANGLE * strengths["rotate"]
    along_x, along_y = SHEAR * strengths["shear_x"], SHEAR * strengths["shear_y"]
    by_x, by_y = (2 * TRANSLATION * strengths[name] for name in ("translate_x", "translate_y"))
    cos, sin = angle.cos(), angle.sin()
    return (cos, (along_x - sin) * aspect, by_x), ((along_y + sin) / aspect, cos, by_y)


def compose(outer: Theta, inner: Theta) -> Theta:
    """Return the map that applies `inner`, then `outer`."""
    (a, b, c), (d, e, f) = inner
    first, second = ((p * a + q * d, p * b + q * e, p * c + q * f + r) for p, q, r in outer)
    return first, second


def sample(planes: Tensor, theta: Theta, shape: Shape) -> Tensor:
    """Sample images at mapped positions: (B, C, h, w) -> (B, C, H, W); reflected outside."""
    (_, height, width), count = shape, len(planes)
    u, v = ((2 * torch.arange(n, device=planes.device) + 1) / n - 1 for n in (width, height))
    grid = planes.new_empty(count, height, width, 2)  # filled in place: F.affine_grid takes ten times as long
    for axis, (p, q, r) in enumerate(theta):
        torch.add((q[:, None] * v + r[:, None])[:, :, None], (p[:, None] * u)[:, None], out=grid[..., axis])
    return F.grid_sample(planes, grid, padding_mode="reflection", align_corners=False)


@cache
def _grey_weights(channels: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the weights of the grey level: (C,). Copied to the device once, because every copy waits for it."""
    return torch.tensor(LUMA if channels == 3 else [1 / channels] * channels, dtype=dtype, device=device)


def change_colours(
    planes: Tensor, sampled: Tensor, jitter: Tensor, strengths: dict[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """Change contrast, brightness and saturation by one affine map of the channels, and add 1/2 to be rounded.

        x -> S (k (s x + o) + (1 - k) g),   S = c I + (1 - c) 1 w^T

    where s, o stretch the channels (autocontrast), g is the mean grey level after that, k the contrast, c the saturation and w
    the weights of the grey level; the brightness is a factor of all of it.

    Args:
        planes: (B, C, H, W) in 0 to 255.
        sampled: pixels of the image, (B, C, n), that mean and extremes are computed from.
        jitter: factors of brightness, contrast and saturation: (3, B).
        strengths: of the operations.

    Returns:
        The images, not clipped, and their mean colours: (B, C, H, W), (B, C).
    """
    channels = planes.shape[1]
    factors = jitter * (
        1 + FACTOR * torch.stack([strengths[name] for name in ("brightness", "contrast", "saturation")])
    )
    brightness, contrast, saturation = factors[..., None]  # (B, 1)
    weights = _grey_weights(channels, planes.dtype, planes.device)
    if channels != 3:
        saturation = torch.ones_like(saturation)
    low, high, mean = sampled.amin(2), sampled.amax(2), sampled.mean(2)
    stretched = (strengths["autocontrast"] != 0)[:, None] & (high > low)
    scale = torch.where(stretched, 255 / (high - low), 1.0)
    offset = torch.where(stretched, -low * scale, 0.0)
    grey = (scale * mean + offset) @ weights
    scale, offset = brightness * contrast * scale, brightness * (contrast * offset + (1 - contrast) * grey[:, None])
    mix = saturation[..., None] * torch.eye(channels, device=planes.device) + (1 - saturation[..., None]) * weights
    matrix, shift = mix * scale[:, None], mix @ offset[..., None]
    mean = (matrix @ mean[..., None] + shift)[..., 0]
    shift = shift + 0.5  # bytes are truncated
    return torch.baddbmm(shift, matrix, planes.flatten(2)).view(planes.shape), mean


def drop_bits(planes: Tensor, strength: Tensor) -> Tensor:
    """Drop the lowest 0 to 4 bits: uint8 (B, C, H, W), (B,) in -1 to 1."""
    mask = (256 - 2 ** (5 * strength.abs()).clamp(max=4).int()).to(torch.uint8)
    return planes & mask[:, None, None, None]


def invert_bright(planes: Tensor, strength: Tensor) -> Tensor:
    """Invert the values above a threshold of 255 down to 0: uint8 (B, C, H, W), (B,) in -1 to 1."""
    threshold = (255 - 256 * strength.abs()).clamp(min=0).to(torch.uint8)
    return planes ^ ((planes > threshold[:, None, None, None]).to(torch.uint8) * 255)


def erase(planes: Tensor, draws: Tensor, probability: float, colours: Tensor) -> Tensor:
    """Fill a random rectangle with a colour.

    Args:
        planes: uint8 (B, C, H, W).
        draws: of the decision, the area, the aspect ratio and the position: (5, B).
        probability: of erasing.
        colours: (B, C) in 0 to 255.
    """
    area = MIN_ERASED + (MAX_ERASED - MIN_ERASED) * draws[1]
    ratio = ((2 * draws[2] - 1) * log(ERASED_ASPECT)).exp()
    sides = torch.stack([(area / ratio).sqrt(), (area * ratio).sqrt()]).clamp(max=1) * (draws[0] < probability)
    starts = draws[3:] * (1 - sides)
    inside = []
    for n, start, side in zip(planes.shape[2:], starts, sides, strict=True):
        at = (torch.arange(n, device=planes.device) + 0.5) / n
        inside.append((at >= start[:, None]) & (at < (start + side)[:, None]))
    erased = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    # torch.where takes ten times as long for bytes; the wrap-around of the difference cancels in the sum.
    difference = colours.clamp(0, 255).to(torch.uint8)[..., None, None] - planes
    return planes.add(difference.mul_(erased))
