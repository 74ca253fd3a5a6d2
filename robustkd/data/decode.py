"""Decode image files into square arrays, in parallel."""

import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from robustkd.data.image_formats import load_formats, open_image
from robustkd.data.resize import Pixels, fit_image, to_grey_or_colour
from robustkd.data.value_range import (
    SIXTEEN_BITS,
    UnknownRangeError,
    ValueRange,
    fit_range,
    join_bytes,
    packing_of,
    scale_values,
    select_lower_bytes,
)
from robustkd.errors import UsageError

FILES_PER_TASK = 32  # a future for each of a million files would cost more than decoding small images does

# A phone's JPEG may contain a second view of the same scene (MPO), and its HEIC file one image that is the primary one. In
# other formats a second image is ambiguous.
FORMATS_WITH_A_PRIMARY_IMAGE = ("MPO", "HEIF")


class DecodedFiles(NamedTuple):
    """What is known of decoded files, apart from their pixels.

    Attributes:
        unreadable: the reason for each file that cannot be read.
        value_range: by which values of more than 8 bits were scaled; None if no file has them.
    """

    unreadable: dict[str, str]
    value_range: ValueRange | None


def decode_image(
    file: Path | BytesIO,
    size: int,
    channels: int = 3,
    value_range: ValueRange | None = SIXTEEN_BITS,
    max_pixels: int | None = None,
) -> Pixels:
    """Decode an image as an upright square of 8 bits: the shorter side is scaled, the longer cropped centrally: (C, S, S).

    Args:
        file: a path, or the content of an image file.
        size: side of the square, in pixels.
        channels: 3 for colour, 1 for greyscale.
        value_range: by which values of more than 8 bits are scaled.
        max_pixels: of the file's image; None: as many as Pillow allows.

    Transparent pixels become white.

    Raises:
        ValueError: it is not a regular file, has too many pixels, contains several images, or has values that are not finite.
        UnknownRangeError: it has values of more than 8 bits, and no range is given.
        Exception: whatever Pillow raises for a damaged or unknown file.
    """
    from PIL import Image, ImageOps

    if isinstance(file, Path) and file.exists() and not file.is_file():
        raise ValueError("not a regular file")  # opening a pipe would block
    with open_image(file, max_pixels) as opened:
        if opened.format not in FORMATS_WITH_A_PRIMARY_IMAGE and getattr(opened, "n_frames", 1) > 1:
            raise ValueError("it contains more than one image")
        packing = packing_of(opened)
        opened.draft(None, (2 * size, 2 * size))  # lets a large JPEG be decoded at a fraction of its size
        image: Image.Image = ImageOps.exif_transpose(opened)
    if image.mode.startswith(("I", "F")):
        image = Image.fromarray(scale_values(np.asarray(image), value_range))
    elif packing is not None:
        with open_image(file, max_pixels) as opened:
            select_lower_bytes(opened, packing)
            image = join_bytes(image, ImageOps.exif_transpose(opened), packing, value_range)
    return fit_image(to_grey_or_colour(image), (channels, size, size))


def decode_files(
    root: Path,
    files: Sequence[str],
    out: Pixels,
    contents: Mapping[str, bytes] | None = None,
    value_range: ValueRange | None = None,
    max_pixels: int | None = None,
) -> DecodedFiles:
    """Decode image files into an array; the rows of files that cannot be read are unchanged.

    Args:
        root: the folder that the file names are relative to.
        files: N names.
        out: (N, C, S, S), filled in place.
        contents: file contents by name; files named here are not read from disk.
        value_range: by which values of more than 8 bits are scaled; None: the range that holds those of all files.
        max_pixels: of each image, beyond which a file counts as unreadable; None: as many as Pillow allows.
    """
    decode = partial(_decode_rows, root, files, out=out, contents=contents or {}, max_pixels=max_pixels)
    failures = decode(range(len(files)), value_range=None)
    deep = {row: error.extent for row, error in failures.items() if isinstance(error, UnknownRangeError)}
    if not deep:
        value_range = None
    else:  # these are decoded again, now that the values of all of them are known
        integers = any(extent.integers for extent in deep.values())
        rows = [row for row, extent in deep.items() if value_range is not None or extent.integers == integers]
        value_range = value_range or fit_range(deep[row] for row in rows)
        failures |= dict.fromkeys(deep, ValueError("its values are fractions, but those of other files are integers"))
        for row in rows:
            del failures[row]
        failures |= decode(rows, value_range=value_range)
    return DecodedFiles({files[row]: describe_error(error) for row, error in sorted(failures.items())}, value_range)


def _decode_rows(
    root: Path,
    files: Sequence[str],
    rows: Sequence[int],
    out: Pixels,
    contents: Mapping[str, bytes],
    value_range: ValueRange | None,
    max_pixels: int | None,
) -> dict[int, Exception]:
    """Decode some of the files into their rows, in parallel; return the errors of those that cannot be read."""
    from rich.console import Console
    from rich.progress import track

    load_formats()  # before the threads start, which would otherwise race to load the formats

    def decode_task(start: int) -> dict[int, Exception]:
        errors: dict[int, Exception] = {}
        for row in rows[start : start + FILES_PER_TASK]:
            try:
                opened = BytesIO(contents[files[row]]) if files[row] in contents else root / files[row]
                out[row] = decode_image(opened, out.shape[-1], out.shape[1], value_range, max_pixels)
            except MemoryError:
                raise
            except Exception as error:  # what a damaged file raises depends on format and damage
                errors[row] = error
        return errors

    starts = range(0, len(rows), FILES_PER_TASK)
    quiet = len(rows) <= 500 or not sys.stderr.isatty()
    pool = ThreadPoolExecutor()  # Pillow releases the interpreter lock while it decodes
    try:
        with warnings.catch_warnings(action="ignore"):  # Pillow's warnings about metadata that does not affect pixels
            tasks: Iterable[dict[int, Exception]] = pool.map(decode_task, starts)
            tasks = track(tasks, "decoding", len(starts), console=Console(stderr=True), transient=True, disable=quiet)
            return {row: error for errors in tasks for row, error in errors.items()}
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C, tasks that have not started are dropped


def raise_if_unreadable(
    name: str, total: int, unreadable: dict[str, str], skip_bad_images: bool, skippable: bool = True
) -> None:
    """Raise a UsageError if some of `total` image files are unreadable, unless they are to be skipped, if that is possible."""
    if unreadable and not skip_bad_images:
        raise UsageError(
            f"{name}: {len(unreadable)} of {total} image files cannot be read: {summarise_unreadable(unreadable)};"
            f" repair or remove them{', or skip them with --skip-bad-images' if skippable else ''}"
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
