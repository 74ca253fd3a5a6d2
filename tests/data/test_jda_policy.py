"""The authors' joint data augmentation: each operation against Pillow, bit for bit, and all of them on batches."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from robustkd.data.augmentations import AUGMENTATIONS, build_augmentation, check_augmentation
from robustkd.data.jda_policy import OPERATIONS, POLICIES, JDAPolicy
from robustkd.data.paired_views import PAIRED_VIEWS
from tests.data.test_jda import pictures

GREY = {"L": 128, "RGB": (128, 128, 128)}


def to_pil(image: Tensor) -> Image.Image:
    return Image.fromarray(image.squeeze(-1).numpy())


def moved(image: Image.Image, matrix: tuple[float, ...], resample: Image.Resampling) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, resample, fillcolor=GREY[image.mode])


def nearest(image: Image.Image, *matrix: float) -> Image.Image:
    return moved(image, matrix, Image.Resampling.NEAREST)


def bicubic(image: Image.Image, *matrix: float) -> Image.Image:
    return moved(image, matrix, Image.Resampling.BICUBIC)


def enhanced(kind: type) -> Callable[[Image.Image, int, int], Image.Image]:
    return lambda image, level, sign: kind(image).enhance(1 + sign * np.linspace(0, 0.9, 10)[level])


def turned(image: Image.Image, level: int, sign: int) -> Image.Image:
    return image.rotate(np.linspace(0, 30, 10)[level], fillcolor=GREY[image.mode])


ORACLES: dict[str, Callable[[Image.Image, int, int], Image.Image]] = {
    "autocontrast": lambda image, level, sign: ImageOps.autocontrast(image),
    "contrast": enhanced(ImageEnhance.Contrast),
    "posterize": lambda image, level, sign: ImageOps.posterize(image, int(np.linspace(8, 4, 10).round()[level])),
    "solarize": lambda image, level, sign: ImageOps.solarize(image, np.linspace(256, 0, 10)[level]),
    "translate_x": lambda image, level, sign: nearest(
        image, 1, 0, sign * np.linspace(0, 150 / 331, 10)[level] * image.width, 0, 1, 0
    ),
    "translate_y": lambda image, level, sign: nearest(
        image, 1, 0, 0, 0, 1, sign * np.linspace(0, 150 / 331, 10)[level] * image.height
    ),
    "shear_x": lambda image, level, sign: bicubic(image, 1, sign * np.linspace(0, 0.3, 10)[level], 0, 0, 1, 0),
    "shear_y": lambda image, level, sign: bicubic(image, 1, 0, 0, sign * np.linspace(0, 0.3, 10)[level], 1, 0),
    "brightness": enhanced(ImageEnhance.Brightness),
    "sharpness": enhanced(ImageEnhance.Sharpness),
    "invert": lambda image, level, sign: ImageOps.invert(image),
    "colour": enhanced(ImageEnhance.Color),
    "equalize": lambda image, level, sign: ImageOps.equalize(image),
    "rotate": turned,
}


def apply(name: str, images: Tensor, level: int, sign: int) -> Tensor:
    planes, signs = images.permute(0, 3, 1, 2).contiguous(), torch.full((len(images), 1, 1, 1), sign)
    return OPERATIONS[name](planes, level, signs).permute(0, 2, 3, 1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(32, 32), (24, 37)])
@pytest.mark.parametrize("name", list(OPERATIONS))
def test_each_operation_is_that_of_pillow_bit_for_bit(name, size, channels):
    images = pictures(3, *size, channels)
    for level in {int(step.split()[1]) for policy in POLICIES.values() for step in policy.split(",") if name in step}:
        for sign in (-1, 1):
            result = apply(name, images, level, sign)
            for image, changed in zip(images, result, strict=True):
                expected = torch.from_numpy(np.array(ORACLES[name](to_pil(image), level, sign))).view_as(image)
                assert torch.equal(changed, expected), (level, sign)


def test_a_translation_by_hand():
    # 0.151 of 32 columns are 4.83 pixels: the nearest ones are 5 columns away, and 5 columns at the edge are grey.
    image = pictures(1, 32, 32, 1)
    right = apply("translate_x", image, 3, 1)
    assert torch.equal(right[:, :, :27], image[:, :, 5:])
    assert (right[:, :, 27:] == 128).all()
    left = apply("translate_x", image, 3, -1)
    assert torch.equal(left[:, :, 5:], image[:, :, :27])
    assert (left[:, :, :5] == 128).all()


@pytest.mark.parametrize(("policy", "steps"), [("cifar10", 14), ("cifar100", 14), ("imagenet", 25)])
def test_the_operations_are_applied_in_order(policy, steps):
    images, jda = pictures(4), JDAPolicy(policy=policy, probability=0.5)
    assert jda.draws == 2 * steps
    drawn = torch.rand(4, jda.draws, generator=torch.Generator().manual_seed(1))
    expected = []
    for image, numbers in zip(images, drawn.tolist(), strict=True):
        picture = to_pil(image)
        for step, (text, number) in enumerate(zip(POLICIES[policy].split(","), numbers, strict=False)):
            name, level = text.split()
            if number < 0.5:
                picture = ORACLES[name](picture, int(level), -1 if numbers[steps + step] < 0.5 else 1)
        expected.append(np.array(picture))
    assert np.array_equal(jda(images, drawn).numpy(), np.stack(expected))


def test_a_probability_of_zero_changes_nothing():
    images = pictures(8)
    assert torch.equal(JDAPolicy(probability=0)(images, torch.rand(8, 28)), images)


@pytest.mark.parametrize("shape", [(8, 8, 1), (9, 13, 3), (16, 16, 2), (12, 10, 4)])
def test_images_are_changed_independently(shape):
    images, jda = pictures(9, *shape), JDAPolicy()
    drawn, before = torch.rand(9, jda.draws, generator=torch.Generator().manual_seed(2)), images.clone()
    together = jda(images, drawn)
    assert torch.equal(torch.cat([jda(images[b : b + 1], drawn[b : b + 1]) for b in range(9)]), together)
    assert torch.equal(images, before)
    assert (together.dtype, together.shape, together.is_contiguous()) == (torch.uint8, images.shape, True)


def test_it_is_a_registered_view_and_augmentation():
    for registry in (PAIRED_VIEWS, AUGMENTATIONS):
        view = registry.parse("jda_policy(policy=imagenet, probability=0.2)")
        assert (view.load(), view.kwargs()) == (JDAPolicy, {"policy": "imagenet", "probability": 0.2})
    check_augmentation("jda_policy(policy=imagenet)", (3, 8, 8))
    built = build_augmentation("jda_policy(policy=imagenet)")
    assert built is not None
    assert built.draws == 50


def test_no_value_is_needed_on_the_host():
    # The meta device has shapes but no values: reading a value there would fail.
    jda = JDAPolicy()
    result = jda(torch.empty(5, 8, 9, 3, dtype=torch.uint8, device="meta"), torch.empty(5, jda.draws, device="meta"))
    assert (result.shape, result.dtype) == ((5, 8, 9, 3), torch.uint8)
