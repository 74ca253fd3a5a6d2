"""Decode image files into square arrays, in parallel."""

import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np

from robustkd.data.resize import Pixels, fit_image
from robustkd.errors import UsageError

FILES_PER_TASK = 32  # a future for each of a million files would cost more than decoding small images does

# Formats that are decoded, whatever the file's name. Pillow knows more, but some of them (EPS) start other programs.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")


def decode_image(file: Path | BytesIO, size: int, channels: int = 3) -> Pixels:
    """Decode an image as an upright square of 8 bits: the shorter side is scaled, the longer cropped centrally: (C, S, S).

    Args:
        file: a path, or the content of an image file.
        size: side of the square, in pixels.
        channels: 3 for colour, 1 for greyscale.

    Transparent pixels become white. Of 16-bit values the upper 8 bits are kept, as Pillow does for colour images.

    Raises:
        ValueError: it is not a regular file, contains several images, or has values that are not integers of up to 16 bits.
        Exception: whatever Pillow raises for a damaged or unknown file.
    """
    from PIL import Image, ImageOps

    if isinstance(file, Path) and file.exists() and not file.is_file():
        raise ValueError("not a regular file")  # opening a pipe would block
    Image.init()  # loads all formats, on the first call only
    with Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN]) as opened:
        # A phone's JPEG may contain a second view of the same scene (MPO); in other formats a second image is ambiguous.
        if opened.format != "MPO" and getattr(opened, "n_frames", 1) > 1:
            raise ValueError("it contains more than one image")
        opened.draft(None, (2 * size, 2 * size))  # lets a large JPEG be decoded at a fraction of its size
        image: Image.Image = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise ValueError("its values need more than 16 bits")
        image = Image.fromarray((values >> 8).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("its values are not integers")
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = image.convert("L" if image.mode in ("1", "L") else "RGB")
    return fit_image(image, (channels, size, size))


def decode_files(
    root: Path, files: Sequence[str], out: Pixels, contents: Mapping[str, bytes] | None = None
) -> dict[str, str]:
    """Decode image files into an array.

    Args:
        root: the folder that the file names are relative to.
        files: N names.
        out: (N, C, S, S), filled in place.
        contents: file contents by name; files named here are not read from disk.

    Returns:
        The reason for each file that cannot be read; the rows of these files are unchanged.
    """
    from PIL import Image
    from rich.console import Console
    from rich.progress import track

    Image.init()  # before the threads start, which would otherwise race to load the formats

    starts = range(0, len(files), FILES_PER_TASK)
    quiet = len(files) <= 500 or not sys.stderr.isatty()
    pool = ThreadPoolExecutor()  # Pillow releases the interpreter lock while it decodes
    try:
        with warnings.catch_warnings(action="ignore"):  # Pillow's warnings about metadata that does not affect pixels
            chunks: Iterable[dict[str, str]] = pool.map(
                lambda start: _decode_chunk(root, files, start, out, contents or {}), starts
            )
            chunks = track(chunks, "decoding", len(starts), console=Console(stderr=True), transient=True, disable=quiet)
            return {file: reason for failures in chunks for file, reason in failures.items()}
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C, tasks that have not started are dropped


def _decode_chunk(
    root: Path, files: Sequence[str], start: int, out: Pixels, contents: Mapping[str, bytes]
) -> dict[str, str]:
    """Decode the files from `start` on that make up a task; return the reasons for those that cannot be read."""
    failures = {}
    for row, file in enumerate(files[start : start + FILES_PER_TASK], start):
        try:
            opened = BytesIO(contents[file]) if file in contents else root / file
            out[row] = decode_image(opened, out.shape[-1], out.shape[1])
        except MemoryError:
            raise
        except Exception as error:  # what a damaged file raises depends on format and damage
            failures[file] = describe_error(error)
    return failures


def raise_if_unreadable(name: str, total: int, unreadable: dict[str, str], skip_bad_images: bool) -> None:
    """Raise a UsageError if some of `total` image files are unreadable, unless they are to be skipped."""
    if unreadable and not skip_bad_images:
        raise UsageError(
            f"{name}: {len(unreadable)} of {total} image files cannot be read: {summarise_unreadable(unreadable)};"
            " repair or remove them, or skip them with --skip-bad-images"
        )


def summarise_unreadable(unreadable: dict[str, str]) -> str:
    """List the first three unreadable files with reasons, and the number of others.

    >>> summarise_unreadable({"a.jpg": "truncated", "b.jpg": "no image"})
    'a.jpg (truncated), b.jpg (no image)'
    """
    first = ", ".join(f"{file} ({reason})" for file, reason in list(unreadable.items())[:3])
    return f"{first} and {len(unreadable) - 3} more" if len(unreadable) > 3 else first


def describe_error(error: Exception) -> str:
    """Return an error's message without a path, which the sentence around it names already."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "not an image of a known format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
