"""Joint data augmentation: each operation against torchvision, and all of them on batches."""

from collections.abc import Callable
from math import atan, degrees, floor

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as V

from robustkd.data.jda import JDA
from robustkd.data.paired_views import PAIRED_VIEWS

NAMES = (
    *("autocontrast", "contrast", "posterize", "solarize", "translate_x", "translate_y", "shear_x", "shear_y"),
    *("brightness", "sharpness", "invert", "colour", "equalize", "rotate"),
)
NEVER = 1 - 2**-24  # the largest number that torch.rand draws


def pictures(count: int = 6, height: int = 24, width: int = 36, channels: int = 3) -> Tensor:
    """Noisy gradients with different darkest and brightest levels: (B, H, W, C)."""
    random = np.random.default_rng(0)
    slope = np.linspace(0, 1, height)[:, None, None] * np.linspace(1, 0.5, width)[None, :, None]
    noise = random.uniform(0, 0.3, (count, height, width, channels))
    low, high = random.integers(0, 60, (count, 1, 1, channels)), random.integers(120, 256, (count, 1, 1, channels))
    return torch.from_numpy((low + (high - low) * (slope + noise) / 1.3).astype(np.uint8))


def draws(count: int, **sizes: float) -> Tensor:
    """Draws by which the named operations are applied with the given sizes, and no others."""
    drawn = torch.full((count, 28), NEVER)
    for name, size in sizes.items():
        drawn[:, NAMES.index(name)], drawn[:, 14 + NAMES.index(name)] = 0, size
    return drawn


def only(images: Tensor, **sizes: float) -> Tensor:
    return JDA()(images, draws(len(images), **sizes))


def random(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 28, generator=torch.Generator().manual_seed(seed))


def affine(image: Tensor, x: float = 0, y: float = 0, shear: tuple[float, float] = (0, 0)) -> Tensor:
    """An affine map as in torchvision's AutoAugment: shears are slopes about the top left corner."""
    angles = [degrees(atan(slope)) for slope in shear]
    return V.affine(image, angle=0, translate=[x, y], scale=1, shear=angles, center=[0, 0])


def far(size: float, most: float) -> float:
    return (2 * size - 1) * most


ORACLES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "autocontrast": lambda image, size: V.autocontrast(image),
    "contrast": lambda image, size: V.adjust_contrast(image, 1 + far(size, 0.9)),
    "posterize": lambda image, size: V.posterize(image, 8 - floor(5 * size)),
    "solarize": lambda image, size: V.solarize(image, 256 - 256 * size),
    "translate_x": lambda image, size: affine(image, x=-round(far(size, 150 / 331 * image.shape[2]))),
    "translate_y": lambda image, size: affine(image, y=-round(far(size, 150 / 331 * image.shape[1]))),
    "shear_x": lambda image, size: affine(image, shear=(far(size, 0.3), 0)),
    "shear_y": lambda image, size: affine(image, shear=(0, far(size, 0.3))),
    "brightness": lambda image, size: V.adjust_brightness(image, 1 + far(size, 0.9)),
    "sharpness": lambda image, size: V.adjust_sharpness(image, 1 + far(size, 0.9)),
    "invert": lambda image, size: V.invert(image),
    "colour": lambda image, size: V.adjust_saturation(image, 1 + far(size, 0.9)),
    "equalize": lambda image, size: V.equalize(image),
    "rotate": lambda image, size: V.rotate(image, far(size, 30)),
}
# How many levels of grey: torchvision cuts where this rounds, and its luma has other weights.
TOLERANCE = {"autocontrast": 1, "contrast": 2, "brightness": 1, "sharpness": 1, "colour": 2}


def test_it_is_a_registered_view():
    view = PAIRED_VIEWS.parse("jda0.3")
    assert (view.load(), view.kwargs(), view.load().draws) == (JDA, {"probability": 0.3}, 28)
    assert tuple(ORACLES) == NAMES


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [0.11, 0.5, 0.73, 0.98])
@pytest.mark.parametrize("name", NAMES)
def test_each_operation_equals_torchvision(name, size, channels):
    images = pictures(channels=channels)
    result = only(images, **{name: size}).permute(0, 3, 1, 2).int()
    for image, changed in zip(images.permute(0, 3, 1, 2), result, strict=True):
        off = (changed - ORACLES[name](image, size).int()).abs()
        # A pixel halfway between two may be sampled from either.
        assert (off > TOLERANCE.get(name, 0)).float().mean() <= (
            0.005 if name in ("shear_x", "shear_y", "rotate") else 0
        )


def test_levels_computed_by_hand():
    # levels 10, 20, 30, 110 of one channel
    image = torch.tensor([10, 20, 30, 110], dtype=torch.uint8).reshape(1, 2, 2, 1)
    expected = {
        "autocontrast": (0.2, [0, 26, 51, 255]),  # (x - 10) * 2.55, rounded
        "contrast": (1 / 3, [20, 27, 34, 90]),  # 42.5 + 0.7 (x - 42.5)
        "posterize": (0.5, [8, 20, 28, 108]),  # without the last two bits
        "solarize": (0.9, [10, 20, 225, 145]),  # 255 - x from 25.6 on
        "brightness": (1.0 - 1e-7, [19, 38, 57, 209]),  # 1.9 x
        "invert": (0.2, [245, 235, 225, 145]),
    }
    for name, (size, levels) in expected.items():
        assert only(image, **{name: size}).flatten().tolist() == levels, name


@pytest.mark.parametrize("size", [(24, 36), (33, 17)])
def test_translations_and_shears_are_composed_and_sampled_once(size):
    images = pictures(4, *size)
    by_x, by_y, along_x, along_y = 0.8, 0.35, 0.9, 0.2
    result = only(images, translate_x=by_x, translate_y=by_y, shear_x=along_x, shear_y=along_y).numpy()
    H, W = size
    expected, torn = np.zeros_like(images.numpy()), np.zeros(size, bool)
    for row, column in np.ndindex(H, W):
        x, y = column + 0.5, row + 0.5
        y += far(along_y, 0.3) * x  # the inverse map applies the last operation first
        x += far(along_x, 0.3) * y
        y += far(by_y, 150 / 331 * H)
        x += far(by_x, 150 / 331 * W)
        torn[row, column] = min(abs(x - round(x)), abs(y - round(y))) < 1e-4
        if 0 <= x < W and 0 <= y < H:
            expected[:, row, column] = images[:, int(y), int(x)]
    assert torn.mean() < 0.01
    assert (result == expected)[:, ~torn].all()
    assert (expected == 0).all(axis=(0, 3)).any()  # some pixels are from outside
    assert (expected > 0).all(axis=(0, 3)).any()


def test_content_moved_out_of_the_frame_may_come_back():
    images = torch.full((1, 32, 32, 1), 9, dtype=torch.uint8)
    one_by_one = only(only(images, translate_y=0.99), shear_y=0.01)
    assert (only(images, translate_y=0.99, shear_y=0.01) > 0).sum() > (one_by_one > 0).sum()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_operations_are_applied_in_order(channels):
    images = pictures(channels=channels)
    # Only one of the four that are sampled together is applied, so that applying them one by one gives the same.
    sizes = dict(zip(NAMES, np.random.default_rng(1).uniform(0.1, 0.4, 14).tolist(), strict=True))
    for left_out in ("translate_y", "shear_x", "shear_y"):
        del sizes[left_out]
    step_by_step = images
    for name, size in sizes.items():
        step_by_step = only(step_by_step, **{name: size})
    assert torch.equal(only(images, **sizes), step_by_step)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("autocontrast", "invert", "equalize")])
def test_neutral_sizes_change_nothing(name):
    images = pictures()
    nothing = 0.0 if name in ("posterize", "solarize") else 0.5
    assert torch.equal(only(images, **{name: nothing}), images)
    assert not torch.equal(only(images, **{name: 0.95}), images)


@pytest.mark.parametrize("shape", [(8, 8, 1), (8, 8, 3), (9, 13, 3), (16, 16, 2), (12, 10, 4)])
def test_images_are_changed_independently(shape):
    images, drawn, jda = pictures(19, *shape), random(19), JDA(probability=0.5)
    before = images.clone()
    together = jda(images, drawn)
    alone = [jda(images[b : b + 1], drawn[b : b + 1]) for b in range(19)]
    assert torch.equal(torch.cat(alone), together)
    assert torch.equal(images, before)
    assert (together.dtype, together.shape, together.is_contiguous()) == (torch.uint8, images.shape, True)


def changed(one: Tensor, other: Tensor) -> list[bool]:
    return (one != other).flatten(1).any(dim=1).tolist()


def test_a_probability_of_zero_changes_nothing_and_of_one_every_image():
    images = pictures(64)
    assert torch.equal(JDA(probability=0)(images, random(64)), images)
    assert torch.equal(JDA(probability=0)(images, torch.zeros(64, 28)), images)
    assert all(changed(JDA(probability=1)(images, random(64)), images))
    assert all(changed(JDA(probability=1)(images, torch.full((64, 28), NEVER)), images))


@pytest.mark.parametrize("name", ["contrast", "shear_x", "invert", "rotate"])
def test_an_operation_is_applied_below_its_probability(name):
    images, drawn = pictures(2), torch.full((2, 28), 0.9)
    drawn[:, NAMES.index(name)] = torch.tensor([0.29, 0.31])
    assert changed(JDA(probability=0.3)(images, drawn), images) == [True, False]


def test_the_result_depends_on_the_draws_only():
    images, drawn, jda = pictures(8), random(8), JDA(probability=0.5)
    result, before = jda(images, drawn), torch.get_rng_state()
    torch.rand(5)
    assert torch.equal(jda(images, drawn), result)
    torch.set_rng_state(before)
    assert torch.equal(jda(images, drawn), result)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(jda(images, random(8, seed=1)), result)
    spared = torch.cat([torch.zeros(8, 14, dtype=torch.bool), drawn[:, :14] >= 0.5], dim=1)
    assert torch.equal(
        jda(images, torch.where(spared, 0.123, drawn)), result
    )  # sizes of operations that are not applied have no effect
    drawn[3, :14], drawn[3, NAMES.index("brightness")] = NEVER, 0
    assert [b for b, other in enumerate(changed(jda(images, drawn), result)) if other] == [3]


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_without_three_channels_there_is_no_colour(channels):
    images = pictures(channels=channels)
    assert torch.equal(only(images, colour=0.9), images)
    assert not torch.equal(only(images, contrast=0.9), images)


@pytest.mark.parametrize("level", [0, 7, 255])
def test_a_channel_of_one_level_is_neither_stretched_nor_equalised(level):
    images = pictures(3)
    images[1, :, :, 2] = level
    for name in ("autocontrast", "equalize"):
        result = only(images, **{name: 0.5})
        assert (result[1, :, :, 2] == level).all()
        assert all(changed(result, images))


def test_too_few_pixels_are_not_equalised():
    small = pictures(3, 15, 17, 1)
    assert torch.equal(only(small, equalize=0.5), small)  # 255 pixels, of which one at least is at the top
    assert not torch.equal(only(pictures(3, 17, 17, 1), equalize=0.5), pictures(3, 17, 17, 1))


def test_no_value_is_needed_on_the_host():
    # The meta device has shapes but no values: reading a value there would fail.
    result = JDA()(torch.empty(5, 8, 9, 3, dtype=torch.uint8, device="meta"), torch.empty(5, 28, device="meta"))
    assert (result.shape, result.dtype) == ((5, 8, 9, 3), torch.uint8)
