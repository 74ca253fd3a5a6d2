"""The augmentation of photographs, against Pillow, loops over pixels, and images whose values are their coordinates."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from robustkd.data.augment import parse_augment
from robustkd.data.photo import DRAWS, MAX_ERASED, MIN_ERASED, OPERATIONS, STRIDE, Photo, crop_map, erase
from robustkd.errors import UsageError

SIDE, STORED = 16, 24
SHAPE = (3, SIDE, SIDE)
OFF = {"crop": 1.0, "colour": 0.0, "policy": 0.0, "erasing": 0.0}


def pictures(count=6, side=SIDE, channels=3, block=STRIDE):
    """Random images of constant blocks, so that every fourth pixel has the mean of all of them."""
    blocks = np.random.default_rng(0).integers(0, 256, (count, side // block, side // block, channels), dtype=np.uint8)
    return torch.from_numpy(blocks.repeat(block, 1).repeat(block, 2))


def coordinates(side=STORED):
    """An image whose channels are the column, the row and 0, times 8."""
    row, column = np.mgrid[:side, :side]
    return torch.from_numpy(np.stack([8 * column, 8 * row, 0 * row], axis=2).astype(np.uint8))[None]


def neutral(count=1):
    return torch.full((count, DRAWS), 0.5)


def with_operation(name, strength):
    """Random numbers that select an operation with a strength from -1 to 1."""
    drawn = neutral()
    drawn[:, 8], drawn[:, 9] = (OPERATIONS.index(name) + 0.5) / len(OPERATIONS), (strength + 1) / 2
    return drawn


def test_an_image_that_nothing_is_drawn_for_is_unchanged():
    images = pictures(block=1)
    assert torch.equal(Photo(**OFF).apply(images, torch.rand(6, DRAWS), SHAPE, flips=False), images)


def test_only_images_whose_mirror_image_keeps_the_class_are_mirrored():
    images, drawn = pictures(), neutral(6)
    drawn[:, 4] = torch.tensor([0.1, 0.9, 0.3, 0.6, 0.49, 0.51])
    result = Photo(**OFF).apply(images, drawn, SHAPE, flips=True)
    for row in range(6):
        assert torch.equal(result[row], images[row].flip(1) if row % 2 == 0 else images[row])
    assert torch.equal(Photo(**OFF).apply(images, drawn, SHAPE, flips=False), images)


@pytest.mark.parametrize(
    "draws", [(0.0, 0.5, 0.5, 0.5), (0.0, 0.0, 0.0, 1.0), (0.4, 1.0, 0.9, 0.2), (1.0, 0.8, 0.3, 0.3)]
)
def test_a_crop_covers_the_part_of_the_image_that_was_drawn(draws):
    drawn = neutral()
    drawn[0, :4] = torch.tensor(draws)
    result = Photo(**{**OFF, "crop": 0.25}).apply(coordinates(), drawn, SHAPE, flips=False)[0].numpy() / 8
    area, ratio = 0.25 + 0.75 * draws[0], (4 / 3) ** (2 * draws[1] - 1)
    ratio = min(max(ratio, area), 1 / area)
    width, height = STORED * np.sqrt(area * ratio), STORED * np.sqrt(area / ratio)
    left, top = draws[2] * (STORED - width), draws[3] * (STORED - height)
    middle = np.arange(2, SIDE - 2)  # away from the border, where pixels are reflected
    columns, rows = (start + (middle + 0.5) * n / SIDE - 0.5 for start, n in ((left, width), (top, height)))
    assert np.abs(result[2:-2, 2:-2, 0] - columns).max() < 0.1
    assert np.abs(result[2:-2, 2:-2, 1] - rows[:, None]).max() < 0.1


def test_crops_stay_within_images_that_are_not_square():
    draws = torch.rand(4, 500)
    for height, width in ((10, 40), (40, 10), (20, 20)):
        (a, b, x), (c, d, y) = crop_map(draws, 0.1, height, width)
        assert (b == 0).all()
        assert (c == 0).all()
        assert (x.abs() + a <= 1 + 1e-5).all()
        assert (y.abs() + d <= 1 + 1e-5).all()
        share = a * d
        assert (share > 0.1 - 1e-5).all()
        assert share.min() < 0.12
        assert share.max() > 0.98


@pytest.mark.parametrize("name", ["rotate", "shear_x", "shear_y", "translate_x", "translate_y"])
@pytest.mark.parametrize("strength", [-1.0, 0.6])
def test_positions_are_mapped_about_the_centre(name, strength):
    photo = Photo(**{**OFF, "policy": 0.5})
    result = photo.apply(coordinates(), with_operation(name, strength), (3, STORED, STORED), flips=False)[0].numpy() / 8
    centre, s = (STORED - 1) / 2, 0.5 * strength
    row, column = np.mgrid[:STORED, :STORED] - centre
    angle = np.radians(30 * s)
    moved = {
        "rotate": (np.cos(angle) * column - np.sin(angle) * row, np.sin(angle) * column + np.cos(angle) * row),
        "shear_x": (column + 0.3 * s * row, row),
        "shear_y": (column, row + 0.3 * s * column),
        "translate_x": (column + 150 / 331 * s * STORED, row),
        "translate_y": (column, row + 150 / 331 * s * STORED),
    }[name]
    inside = (np.abs(moved[0]) < centre) & (np.abs(moved[1]) < centre)
    for channel, expected in enumerate(moved):
        assert np.abs(result[..., channel] - expected - centre)[inside].max() < 0.1


@pytest.mark.parametrize(
    ("place", "enhance"), [(5, ImageEnhance.Brightness), (6, ImageEnhance.Contrast), (7, ImageEnhance.Color)]
)
@pytest.mark.parametrize("draw", [0.0, 0.3, 1.0])
def test_colours_change_as_in_pillow(place, enhance, draw):
    images, drawn = pictures(1), neutral()
    drawn[0, place] = draw
    result = Photo(**{**OFF, "colour": 0.6}).apply(images, drawn, SHAPE, flips=False)[0].numpy()
    expected = np.asarray(enhance(Image.fromarray(images[0].numpy())).enhance(1 + 0.6 * (2 * draw - 1)))
    assert np.abs(result.astype(int) - expected).max() <= 2  # Pillow rounds the grey level


@pytest.mark.parametrize(
    ("name", "strength", "expected"),
    [
        ("brightness", 0.5, lambda image: ImageEnhance.Brightness(image).enhance(1.45)),
        ("contrast", -0.5, lambda image: ImageEnhance.Contrast(image).enhance(0.55)),
        ("saturation", 1.0, lambda image: ImageEnhance.Color(image).enhance(1.9)),
        ("autocontrast", 0.3, lambda image: ImageOps.autocontrast(image)),
        ("posterize", 0.7, lambda image: ImageOps.posterize(image, 5)),
        ("posterize", -1.0, lambda image: ImageOps.posterize(image, 4)),
        ("solarize", -0.5, lambda image: ImageOps.solarize(image, 128)),
        ("identity", 0.9, lambda image: image),
    ],
)
def test_operations_do_what_those_of_pillow_do(name, strength, expected):
    images = (pictures(1) // 2 + 40).to(torch.uint8)
    result = (
        Photo(**{**OFF, "policy": 1.0}).apply(images, with_operation(name, strength), SHAPE, flips=False)[0].numpy()
    )
    wanted = np.asarray(expected(Image.fromarray(images[0].numpy())))
    assert np.abs(result.astype(int) - wanted).max() <= 2


def test_each_image_has_one_operation():
    count, photo = 2400, Photo()
    strengths = photo.draw_operation(torch.rand(2, count, generator=torch.Generator().manual_seed(0)))
    table = torch.stack([strengths[name] for name in OPERATIONS])
    assert ((table != 0).sum(0) == 1).all()
    assert table.abs().max() <= 0.5 < 1.1 * table.abs().max()
    assert ((table != 0).sum(1) - count / len(OPERATIONS)).abs().max() < 60


def test_a_rectangle_takes_the_mean_colour():
    count = 400
    planes, draws = (
        torch.zeros(count, 2, 40, 40, dtype=torch.uint8),
        torch.rand(5, count, generator=torch.Generator().manual_seed(1)),
    )
    result = erase(planes, draws, 0.25, torch.tensor([[7.0, 200.0]]).expand(count, 2))
    erased = result[:, 1] > 0
    assert torch.equal(erased.any((1, 2)), draws[0] < 0.25)
    for row in np.flatnonzero(draws[0].numpy() < 0.25):
        down, across = np.flatnonzero(erased[row].any(1)), np.flatnonzero(erased[row].any(0))
        box = slice(down[0], down[-1] + 1), slice(across[0], across[-1] + 1)
        assert erased[row][box].all()
        assert (result[row, 0][box] == 7).all()
        assert (result[row, 1][box] == 200).all()
        assert MIN_ERASED / 2 < erased[row].float().mean() < MAX_ERASED + 0.05


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_does_not_depend_on_its_batch(channels):
    images, shape = pictures(8, STORED, channels), (channels, SIDE, SIDE)
    photo = Photo(erasing=0.9)
    drawn = photo.draw(8, shape, torch.Generator().manual_seed(3))
    together = photo.apply(images, drawn, shape, flips=True)
    assert together.shape == (8, SIDE, SIDE, channels)
    assert together.dtype is torch.uint8
    for row in range(8):
        alone = photo.apply(images[row : row + 1], drawn[row : row + 1], shape, flips=True)
        assert (alone[0].int() - together[row].int()).abs().max() <= 1


def test_strengths_are_checked():
    assert parse_augment("photo(crop=0.5, erasing=0)").crop == 0.5
    for text, message in (
        ("photo(crop=0)", "greater than 0"),
        ("photo(color=0.1)", "did you mean 'colour'"),
        ("phot", "did you mean 'photo'"),
    ):
        with pytest.raises(UsageError, match=message):
            parse_augment(text)
