"""Small pictures, folders of them, and what is said of data that cannot be read."""

import numpy as np
import pytest
from PIL import Image

from robustkd.data.sources import load_dataset
from robustkd.errors import UsageError


def colour(value, size=(12, 8)):
    return Image.new("RGB", size, value)


def noise(seed, shape=(8, 12, 3)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def save(image, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def folder(root, kinds=("cat", "dog"), count=2, part=""):
    """Class folders of small coloured images."""
    for number, kind in enumerate(kinds):
        for one in range(count):
            save(noise(10 * number + one), root / part / kind / f"{one}.png")
    return root


def refused(word, *said, **options):
    with pytest.raises(UsageError) as caught:
        load_dataset(word, **options)
    sentence = str(caught.value)
    assert "\n" not in sentence
    for text in said:
        assert text in sentence
    return sentence
