"""Formats whose decoder is optional: read where it is installed, and named where it is not."""

import importlib.util
import struct
import sys
import zlib
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


def png_header(width, height):
    """Return the start of a PNG file, whose pixels are missing: a few bytes may claim any size."""
    fields = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunk = b"IHDR" + fields
    end = struct.pack(">I", zlib.crc32(chunk)) + struct.pack(">I", 9) + b"IDAT"
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(fields)) + chunk + end


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("size", "pixels"),
    [((13_000, 13_000), "169,000,000"), ((20_000, 20_000), "over 178,956,970"), ((10_001, 10_000), "100,010,000")],
)
def test_too_many_pixels_are_refused_before_they_are_decoded(size, pixels):
    with pytest.raises(ValueError, match=f"^it has {pixels} pixels, more than --max-pixels 100000000$"):
        decode_image(BytesIO(png_header(*size)), 8, max_pixels=image_formats.MAX_PIXELS)
    with pytest.raises(OSError, match="truncated"):  # as many as are allowed are decoded
        decode_image(BytesIO(png_header(10_000, 10_000)), 8, max_pixels=image_formats.MAX_PIXELS)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_higher_limit_is_pillows_too(tmp_path, monkeypatch):
    file = save_image(solid_image((200, 30, 90), (40, 30)), tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(ValueError, match=r"^it has over 1,000 pixels$"):
        decode_image(file, 8)
    with pytest.raises(ValueError, match=r"^it has 1,200 pixels, more than --max-pixels 1199$"):
        decode_image(file, 8, max_pixels=1199)
    assert decode_image(file, 8, max_pixels=1200).shape == (3, 8, 8)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # of a process that has no limit
    with pytest.raises(ValueError, match="1,200 pixels"):
        decode_image(file, 8, max_pixels=1199)


def test_another_limit_is_not_answered_from_the_cache(tmp_path):
    root = make_folder(tmp_path)
    save_image(solid_image((200, 30, 90), (40, 30)), root / "cat" / "large.png")
    small = load_dataset(f"folder:{root}", skip_bad_images=True, max_pixels=1199)
    assert small.skipped == ("cat/large.png",)
    assert_refused(
        f"folder:{root}", "cat/large.png (it has 1,200 pixels, more than --max-pixels 1199)", max_pixels=1199
    )
    whole = load_dataset(f"folder:{root}")
    assert whole.skipped == ()
    assert len(whole.labels) == len(small.labels) + 1
    assert load_dataset(f"folder:{root}", skip_bad_images=True, max_pixels=1199).skipped == ("cat/large.png",)
