"""Formats whose decoder is optional: read where it is installed, and named where it is not."""

import importlib.util
import sys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from robustkd.data import image_formats
from robustkd.data.decode import decode_image
from robustkd.data.sources import load_dataset
from tests.data.image_files import assert_refused, make_folder, save_image, solid_image

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


@pytest.fixture
def without_pillow_heif(monkeypatch):
    Image.init()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(Image, "OPEN", {name: entry for name, entry in Image.OPEN.items() if name != "HEIF"})
    image_formats.load_formats.cache_clear()
    yield
    image_formats.load_formats.cache_clear()


@pytest.mark.usefixtures("without_pillow_heif")
def test_the_package_that_reads_heic_is_named(tmp_path):
    root = make_folder(tmp_path)
    (root / "cat" / "photo.HEIC").write_bytes(HEIC)
    assert_refused(f"folder:{root}", "cat/photo.HEIC", "pip install pillow-heif", "--skip-bad-images")
    assert load_dataset(f"folder:{root}", skip_bad_images=True).skipped == ("cat/photo.HEIC",)
    with pytest.raises(ValueError, match="extra `heif`"):
        image_formats.open_image(BytesIO(HEIC))


def test_what_is_no_image_is_not_taken_for_one(tmp_path):
    for content in (b"", b"text", b"\0\0\0\x18ftypmp42"):
        with pytest.raises(UnidentifiedImageError):
            image_formats.open_image(BytesIO(content))


def test_avif(tmp_path):
    file = save_image(solid_image((200, 30, 90), (32, 24)), tmp_path / "solid.avif", quality=95)
    assert np.abs(decode_image(file, 8).astype(int) - np.reshape((200, 30, 90), (3, 1, 1))).max() < 8


@pytest.mark.skipif(importlib.util.find_spec("pillow_heif") is None, reason="needs the extra heif")
def test_heic(tmp_path):
    image_formats.load_formats()
    file = save_image(solid_image((200, 30, 90), (64, 48)), tmp_path / "solid.heic", quality=95)
    assert np.abs(decode_image(file, 8).astype(int) - np.reshape((200, 30, 90), (3, 1, 1))).max() < 8
