"""Helpers: small image files and data sets, and the error messages of invalid ones."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robustkd.data.sources import from_arrays, load_dataset
from robustkd.errors import UsageError

REAL_DATA = Path(__file__).parents[3] / "shared" / "data"


def solid_image(colour, size=(12, 8)):
    return Image.new("RGB", size, colour)


def noise_image(seed, shape=(8, 12, 3)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def save_image(image, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def make_folder(root, classes=("cat", "dog"), count=2, part=""):
    """Create class folders of small colour images; return the root."""
    for number, name in enumerate(classes):
        for index in range(count):
            save_image(noise_image(10 * number + index), root / part / name / f"{index}.png")
    return root


def annotated_source(**others):
    """A data set of eight images with classes, parts, clean labels and groups; `others` replace arguments of from_arrays."""
    rng = np.random.default_rng(0)
    options = {
        "images": rng.integers(0, 256, (8, 5, 6, 3), dtype=np.uint8),
        "labels": np.array([0, 1, 2, 1, 0, 1, 2, 0]),
        "classes": ["ä", "b, c", "NA"],
        "parts": ["train"] * 5 + ["val", "train", "test"],
        "clean": [0, -1, 2, 2, -1, -1, -1, -1],
        "groups": list("aabbcfde"),
        "flips": True,
    }
    return from_arrays(**{**options, **others})


UNREADABLE = [
    *("cut.jpg", "cut.png", "empty.png", "float.tif", "gone.png", "moving.gif", "other.jpg", "photo.heic", "text.jpg"),
]


def add_unreadable_images(root):
    """Add every kind of unreadable image, UNREADABLE, to the class cat; return the root."""
    place = root / "cat"
    for name in ("cut.jpg", "cut.png"):
        content = save_image(noise_image(1, (64, 64, 3)), place / name).read_bytes()
        (place / name).write_bytes(content[: len(content) // 2])
    (place / "text.jpg").write_text("not an image")
    (place / "empty.png").write_bytes(b"")
    (place / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic")
    save_image(noise_image(1), place / "other.jpg", format="PCX")  # not among the formats that are allowed
    (place / "gone.png").symlink_to(root / "nowhere")
    save_image(noise_image(1), place / "moving.gif", save_all=True, append_images=[noise_image(2)])
    save_image(Image.new("F", (9, 9), float("nan")), place / "float.tif")
    return root


def assert_refused(name, *expected, **options):
    """Assert that loading a data set fails with a single line that contains all expected texts; return it."""
    with pytest.raises(UsageError) as caught:
        load_dataset(name, **options)
    message = str(caught.value)
    assert "\n" not in message
    for text in expected:
        assert text in message
    return message
