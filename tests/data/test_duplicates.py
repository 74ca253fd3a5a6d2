"""Duplicates: planted copies are found as documented, and similar images are not."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robustkd.data import duplicates
from robustkd.data.sources import load_dataset

REAL = Path(__file__).parents[3] / "shared" / "data"


def pictures(count, seed=0, shape=(32, 32), channels=3):
    """Smooth random colours with finer ones over them: (count, C, H, W)."""
    random = np.random.default_rng(seed)
    images = np.zeros((count, channels, *shape))
    for side, weight in ((4, 1.0), (8, 0.7), (16, 0.4)):
        coarse = random.normal(size=(count, channels, side, side))
        rows, columns = (np.arange(n) * side // n for n in shape)
        images += weight * coarse[:, :, rows][:, :, :, columns]
    return (128 + 45 * images).clip(0, 255).astype(np.uint8)


def opened(image):
    return Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))


def closed(picture):
    pixels = np.asarray(picture)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def jpeg(image, quality=75):
    file = io.BytesIO()
    opened(image).save(file, "JPEG", quality=quality)
    return closed(Image.open(file))


def resized(image):
    whole = opened(image)
    small = whole.resize((whole.width * 4 // 5, whole.height * 4 // 5), Image.Resampling.BILINEAR)
    return closed(small.resize(whole.size, Image.Resampling.BILINEAR))


COPIES = {
    "jpeg": jpeg,
    "resized": resized,
    "brighter": lambda image: (1.2 * image + 10).clip(0, 255).astype(np.uint8),
    "moved": lambda image: np.concatenate([image[:, :, :1], image[:, :, :-1]], axis=2),
    "grey": lambda image: np.broadcast_to(closed(opened(image).convert("L")), image.shape),
}
OTHERS = {
    "mirrored": lambda image: image[:, :, ::-1],
    "turned": lambda image: np.rot90(image, axes=(1, 2)),
    "negative": lambda image: 255 - image,
}


def together(images, copy, models):
    return np.concatenate([images, np.stack([copy(images[model]) for model in models])])


def found(images, rows=None):
    pairs = duplicates.find_near_duplicates(images, np.arange(len(images)) if rows is None else rows)
    assert (pairs.left < pairs.right).all()
    assert (np.diff(pairs.similarity) <= 0).all()
    return set(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True))


@pytest.mark.parametrize("shape", [(32, 32), (28, 28), (96, 64)])
@pytest.mark.parametrize("kind", COPIES)
def test_planted_copies_are_found_and_nothing_else(kind, shape):
    images, models = pictures(400, shape=shape), np.arange(0, 400, 8)
    pairs = found(together(images, COPIES[kind], models))
    planted = {(int(model), 400 + number) for number, model in enumerate(models)}
    assert pairs <= planted
    assert len(pairs) >= 0.95 * len(planted)


@pytest.mark.parametrize("kind", OTHERS)
def test_mirrored_rotated_and_negative_copies_are_not_found(kind):
    assert found(together(pictures(200), OTHERS[kind], range(50))) == set()


def test_small_data_sets():
    images = together(pictures(2), jpeg, [0])
    assert found(images) == {(0, 2)}
    assert found(images[:2]) == set()
    assert found(images[:1]) == set()


def test_rows_keep_their_numbers():
    images = together(pictures(60), jpeg, [10, 20])
    assert found(images, np.array([0, 5, 10, 20, 30, 33, 44, 50, 61])) == {(20, 61)}


def test_images_without_contrast_or_of_few_pixels_are_not_compared():
    random = np.random.default_rng(0)
    faint = (128 + random.integers(0, 2, (50, 1, 1, 32)) + np.zeros((50, 1, 32, 32))).astype(np.uint8)
    assert found(np.concatenate([faint, faint[:, :, ::-1]])) == set()
    tiny = pictures(50, shape=(6, 6))
    assert found(together(tiny, COPIES["brighter"], range(50))) == set()


def test_the_bound_is_relative_to_the_data_set():
    """Two images as similar as copies are no duplicates if all images are that similar."""
    random = np.random.default_rng(0)
    one = pictures(1, seed=5).astype(float)
    alike = (one + random.normal(0, 4, (300, 3, 32, 32))).clip(0, 255).astype(np.uint8)
    assert found(np.concatenate([pictures(300), alike[:2]])) == {(300, 301)}
    assert found(alike) == set()


def test_digits_are_similar_but_hardly_copies():
    images = load_dataset("digits").images
    assert len(found(images)) <= 3
    models = np.arange(0, 1797, 20)
    pairs = found(together(images, lambda image: jpeg(image, 90), models))
    assert sum((int(model), 1797 + number) in pairs for number, model in enumerate(models)) >= 0.95 * len(models)


def test_traffic_signs_are_copies_only_within_a_track():
    if not (REAL / "gtsrb32").is_dir():
        pytest.skip("real data not present")
    with np.load(REAL / "gtsrb32" / "gtsrb32_every3.npz") as file:
        images, track = file["X"].transpose(0, 3, 1, 2), file["y"].astype(int) * 10000 + file["track"]
    pairs = duplicates.find_near_duplicates(images, np.arange(len(images)))
    assert len(pairs.left) > 50
    assert (track[pairs.left] == track[pairs.right]).all()


def test_fashion_mnist_has_few():
    if not (REAL / "fashion-mnist").is_dir():
        pytest.skip("real data not present")
    images = load_dataset("fashion-mnist", data_dir=str(REAL / "fashion-mnist")).images[:10000]
    assert len(found(images)) < 20
    models = np.arange(0, 10000, 50)
    pairs = found(together(images, jpeg, models))
    assert sum((int(model), 10000 + number) in pairs for number, model in enumerate(models)) >= 0.95 * len(models)
