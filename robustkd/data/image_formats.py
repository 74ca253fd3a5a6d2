"""The image formats that are decoded. HEIC needs pillow-heif, which is optional: it brings libraries of its own."""

from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

# Formats that are decoded, whatever the file's name. Pillow knows more, but some of them (EPS) start other programs.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "HEIF")

MAX_PIXELS = 100_000_000  # of a file by default: more than most cameras take, while a small file can hold many more

# How a file begins that only an optional decoder can read, and the message without it.
_OPTIONAL = {
    "HEIF": (
        (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"),
        "HEIC is decoded if pillow-heif is installed, as by the extra `heif`: pip install pillow-heif",
    ),
    "AVIF": (
        (b"avif", b"avis"),
        "AVIF is decoded by Pillow from version 11.3: pip install --upgrade pillow",
    ),
}


@lru_cache
def load_formats() -> tuple[str, ...]:
    """Load the decoders of all formats that are available; return the formats' names. Call it before threads decode."""
    from PIL import Image

    Image.init()
    try:
        import pillow_heif  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        pass
    else:
        pillow_heif.register_heif_opener()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def open_image(file: Path | BytesIO, max_pixels: int | None = None) -> "ImageFile":
    """Open an image of the formats that are decoded; its pixels are not read yet.

    Args:
        max_pixels: of the image; None: as many as Pillow allows.

    Raises:
        ValueError: it has more pixels, or a format whose decoder is not installed; the message names it.
        Exception: whatever Pillow raises for a damaged or unknown file.
    """
    from PIL import Image, UnidentifiedImageError

    formats = load_formats()
    pillows = Image.MAX_IMAGE_PIXELS  # of the process; images of twice as many pixels are refused
    if max_pixels is not None and pillows is not None and max_pixels > 2 * pillows:
        Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        opened = Image.open(file, formats=formats)
    except Image.DecompressionBombError:
        raise ValueError(_describe_size(f"over {2 * (pillows or 0):,}", max_pixels)) from None
    except UnidentifiedImageError:
        brand = _read_start(file)[4:12]
        for name, (brands, advice) in _OPTIONAL.items():
            if name not in formats and brand.startswith(b"ftyp") and brand[4:] in brands:
                raise ValueError(advice) from None
        raise
    pixels = opened.width * opened.height
    if max_pixels is not None and pixels > max_pixels:
        opened.close()
        raise ValueError(_describe_size(f"{pixels:,}", max_pixels))
    return opened


def _describe_size(pixels: str, max_pixels: int | None) -> str:
    limit = "" if max_pixels is None else f", more than --max-pixels {max_pixels}"
    return f"it has {pixels} pixels{limit}"


def _read_start(file: Path | BytesIO) -> bytes:
    if isinstance(file, BytesIO):
        return file.getvalue()[:12]
    with file.open("rb") as opened:
        return opened.read(12)
