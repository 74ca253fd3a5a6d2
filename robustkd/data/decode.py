"""From image files to one array: each decoded once, in parallel, into a memory-mapped cache."""

import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from robustkd.data.resize import Pixels, fit_image
from robustkd.errors import UsageError

if TYPE_CHECKING:
    pass

FILES_PER_TASK = 32  # images per task: a future for each of a million would cost more than small images do

# What is decoded, whatever the name says. Pillow knows more, but some of it (EPS) starts other programs.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")


def decode_image(file: Path | BytesIO, size: int, channels: int = 3) -> Pixels:
    """One image file as a square: upright, 8 bits, the shorter side scaled, the centre of the longer: (C, S, S).

    Its content may stand in for the file. Transparent pixels show white. Of 16 bits the upper 8 are kept, as Pillow does
    for colours.
    """
    from PIL import Image, ImageOps

    if isinstance(file, Path) and file.exists() and not file.is_file():
        raise ValueError("it is no file")  # a pipe would be waited for
    Image.init()  # all formats; it is done once
    with Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN]) as opened:
        # A telephone's JPEG may carry a second view of the same scene (MPO); any other second picture is a question.
        if opened.format != "MPO" and getattr(opened, "n_frames", 1) > 1:
            raise ValueError("it holds more than one picture")
        opened.draft(None, (2 * size, 2 * size))  # lets a large JPEG be decoded at a fraction of its size
        image: Image.Image = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise ValueError("its values take more than 16 bits")
        image = Image.fromarray((values >> 8).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("its values are no whole numbers")
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = image.convert("L" if image.mode in ("1", "L") else "RGB")
    return fit_image(image, (channels, size, size))


def decode_files(
    root: Path, files: Sequence[str], into: Pixels, contents: Mapping[str, bytes] | None = None
) -> dict[str, str]:
    """Fill an array with the images of files below root: (N, C, S, S). Those in `contents` are at hand already.

    Returns:
        The files that cannot be read, and why; their rows are left as they were.
    """
    from PIL import Image
    from rich.console import Console
    from rich.progress import track

    Image.init()  # all formats before the threads start, which would otherwise race to load them
    held = contents or {}

    def some(start: int) -> dict[str, str]:
        bad = {}
        for row, file in enumerate(files[start : start + FILES_PER_TASK], start):
            try:
                opened = BytesIO(held[file]) if file in held else root / file
                into[row] = decode_image(opened, into.shape[-1], into.shape[1])
            except MemoryError:
                raise
            except Exception as error:  # what a damaged file raises depends on format and damage
                bad[file] = describe_error(error)
        return bad

    starts = range(0, len(files), FILES_PER_TASK)
    quiet = len(files) <= 500 or not sys.stderr.isatty()
    pool = ThreadPoolExecutor()  # Pillow lets go of the interpreter's lock while it decodes
    try:
        with warnings.catch_warnings(action="ignore"):  # Pillow on notes in a file that do not touch its pixels
            tasks: Iterable[dict[str, str]] = pool.map(some, starts)
            done = track(tasks, "decoding", len(starts), console=Console(stderr=True), transient=True, disable=quiet)
            return {file: why for bad in done for file, why in bad.items()}
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C, what has not begun need not


def raise_if_unreadable(word: str, total: int, bad: dict[str, str], skip_bad_images: bool) -> None:
    """Refuse unreadable image files, unless they are to be left out."""
    if bad and not skip_bad_images:
        raise UsageError(
            f"{word}: {len(bad)} of {total} image files cannot be read: {summarise_unreadable(bad)};"
            " mend or remove them, or leave them out with --skip-bad-images"
        )


def summarise_unreadable(bad: dict[str, str]) -> str:
    """Which files are unreadable, the first three by name.

    >>> summarise_unreadable({"a.jpg": "cut off", "b.jpg": "no image"})
    'a.jpg (cut off), b.jpg (no image)'
    """
    first = ", ".join(f"{file} ({why})" for file, why in list(bad.items())[:3])
    return f"{first} and {len(bad) - 3} more" if len(bad) > 3 else first


def describe_error(error: Exception) -> str:
    """What an error says, without a path that the sentence around it has already."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "not an image of a known format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
