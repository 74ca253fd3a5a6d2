"""The image formats that are decoded. HEIC needs pillow-heif, which is optional: it brings libraries of its own."""

from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

# Formats that are decoded, whatever the file's name. Pillow knows more, but some of them (EPS) start other programs.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "HEIF")

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


def open_image(file: Path | BytesIO) -> "ImageFile":
    """Open an image of the formats that are decoded; its pixels are not read yet.

    Raises:
        ValueError: it has a format whose decoder is not installed; the message names it.
        Exception: whatever Pillow raises for a damaged or unknown file.
    """
    from PIL import Image, UnidentifiedImageError

    formats = load_formats()
    try:
        return Image.open(file, formats=formats)
    except UnidentifiedImageError:
        brand = _read_start(file)[4:12]
        for name, (brands, advice) in _OPTIONAL.items():
            if name not in formats and brand.startswith(b"ftyp") and brand[4:] in brands:
                raise ValueError(advice) from None
        raise


def _read_start(file: Path | BytesIO) -> bytes:
    if isinstance(file, BytesIO):
        return file.getvalue()[:12]
    with file.open("rb") as opened:
        return opened.read(12)
