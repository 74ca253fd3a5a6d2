"""From image files to one array: each decoded once, in parallel, into a memory-mapped cache."""

import json
import os
import re
import shutil
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from robustkd.errors import UsageError
from robustkd.hashing import digest

if TYPE_CHECKING:
    from PIL import Image

Pixels = NDArray[np.uint8]

VERSION = 1  # of what a cached array holds: raise it whenever picture() answers differently
STEP = 32  # images per task: a future for each of a million would cost more than small images do

# What counts as an image by its name. HEIC is not decoded here, but leaving it out in silence would lose images.
IMAGE = re.compile(r"\.(jpe?g|jpe|jfif|a?png|gif|bmp|dib|tiff?|webp|p[pgbn]m|jp2|avif|hei[cf])$", re.IGNORECASE)
# What is decoded, whatever the name says. Pillow knows more, but some of it (EPS) starts other programs.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")


class Decoded(NamedTuple):
    """What became of a list of image files."""

    images: Pixels  # (n, C, S, S), memory-mapped; C is 1 where all of them are grey
    digest: str  # of the images
    skipped: dict[str, str]  # the files that cannot be read, and why


def hidden(name: str) -> bool:
    """Whether editors, archivers or systems left it rather than the user."""
    return name.startswith((".", "__MACOSX"))


def images_below(folder: Path) -> list[str]:
    """The image files of a folder at any depth, hidden ones apart, sorted: paths relative to it, with slashes."""
    files = []
    for place, inside, names in os.walk(folder):
        inside[:] = [name for name in inside if not hidden(name)]
        here = Path(place).relative_to(folder)
        files += [(here / n).as_posix() for n in names if not hidden(n) and IMAGE.search(n)]
    return sorted(files)


def picture(file: Path | BytesIO, size: int, channels: int = 3) -> Pixels:
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
    return _fit(image, (channels, size, size))


def fitted(images: Pixels, shape: tuple[int, int, int]) -> Pixels:
    """Images brought to other channels and another size, as `picture` would: (N, C, H, W) -> (N, *shape)."""
    from PIL import Image

    if images.shape[1:] == shape:
        return images
    made = np.empty((len(images), *shape), np.uint8)
    for row, pixels in enumerate(images):
        made[row] = _fit(Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)), shape)
    return made


def _fit(image: "Image.Image", shape: tuple[int, int, int]) -> Pixels:
    """The centre of a grey image or one in colour, scaled until it fills the shape: (C, H, W)."""
    from PIL import Image, ImageOps

    channels, height, width = shape
    filled = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)  # Pillow's bilinear averages as it shrinks
    pixels = np.asarray(filled.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)


def decode(
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
        for row, file in enumerate(files[start : start + STEP], start):
            try:
                opened = BytesIO(held[file]) if file in held else root / file
                into[row] = picture(opened, into.shape[-1], into.shape[1])
            except MemoryError:
                raise
            except Exception as error:  # what a damaged file raises depends on format and damage
                bad[file] = reason(error)
        return bad

    starts = range(0, len(files), STEP)
    quiet = len(files) <= 500 or not sys.stderr.isatty()
    pool = ThreadPoolExecutor()  # Pillow lets go of the interpreter's lock while it decodes
    try:
        with warnings.catch_warnings(action="ignore"):  # Pillow on notes in a file that do not touch its pixels
            tasks: Iterable[dict[str, str]] = pool.map(some, starts)
            done = track(tasks, "decoding", len(starts), console=Console(stderr=True), transient=True, disable=quiet)
            return {file: why for bad in done for file, why in bad.items()}
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C, what has not begun need not


def cached(
    root: Path,
    files: Sequence[str],
    size: int,
    cache_dir: Path | None = None,
    contents: Mapping[str, bytes] | None = None,
) -> Decoded:
    """The images of files below root, decoded unless these very files have been before, at this size.

    Where a file's content is at hand in `contents`, nothing is looked for below root, and its name is but a name.

    Raises:
        UsageError: the cache folder cannot be written or is full, or no file can be read.
    """
    folder = cache_dir or _default_folder()
    # The place is part of the key: names, sizes and times alone agree in two unpackings of uncompressed images.
    held = contents or {}
    listing = [(file, *(_mark(held[file]) if file in held else _stamp(root / file))) for file in files]
    key = digest(text=json.dumps([VERSION, size, str(root.resolve()), listing]))
    images, record = folder / f"{key}.npy", folder / f"{key}.json"
    if not (images.is_file() and record.is_file()) or _became_readable(
        root, _skipped(record).keys() - held.keys(), size
    ):
        _fill(root, files, size, images, record, held)
    return Decoded(np.load(images, mmap_mode="r"), json.loads(record.read_text())["digest"], _skipped(record))


def _fill(
    root: Path, files: Sequence[str], size: int, images: Path, record: Path, contents: Mapping[str, bytes]
) -> None:
    """Decode into a folder of its own and move what is complete: what is interrupted is never taken for a cache."""
    with _scratch(images.parent) as scratch:
        needed, free = 2 * len(files) * 3 * size * size, shutil.disk_usage(scratch).free
        if free < needed:  # a memory-mapped file that meets a full disk ends the process without a word
            raise UsageError(
                f"decoding {len(files)} images takes {needed / 1e9:.1f} GB in {images.parent}, which has"
                f" {free / 1e9:.1f} GB free: the environment variable ROBUSTKD_CACHE names another folder"
            )
        whole = open_memmap(Path(scratch, "whole.npy"), "w+", np.uint8, (len(files), 3, size, size))
        bad = decode(root, files, whole, contents)
        if all(file in bad for file in files):
            raise UsageError(f"none of the {len(files)} image files in {root} can be read: {refusal(bad)}")
        good = np.flatnonzero([file not in bad for file in files])
        blocks = [good[start : start + 1024] for start in range(0, len(good), 1024)]
        grey = all((whole[block] == whole[block, :1]).all() for block in blocks)
        shape = (len(good), 1 if grey else 3, size, size)
        kept = whole if shape == whole.shape else open_memmap(Path(scratch, "kept.npy"), "w+", np.uint8, shape)
        if kept is not whole:
            for number, block in enumerate(blocks):
                kept[number * 1024 : number * 1024 + len(block)] = whole[block, : shape[1]]
        kept.flush()
        Path(scratch, "record.json").write_text(json.dumps({"digest": digest(kept), "skipped": bad}, indent=1))
        done = Path(scratch, "whole.npy" if kept is whole else "kept.npy")
        del whole, kept  # some systems move no file that is mapped
        done.replace(images)
        Path(scratch, "record.json").replace(record)  # last: with it the cache is valid


def accept(word: str, total: int, bad: dict[str, str], skip_bad_images: bool) -> None:
    """Refuse unreadable image files, unless they are to be left out."""
    if bad and not skip_bad_images:
        raise UsageError(
            f"{word}: {len(bad)} of {total} image files cannot be read: {refusal(bad)};"
            " mend or remove them, or leave them out with --skip-bad-images"
        )


def refusal(bad: dict[str, str]) -> str:
    """Which files are unreadable, the first three by name.

    >>> refusal({"a.jpg": "cut off", "b.jpg": "no image"})
    'a.jpg (cut off), b.jpg (no image)'
    """
    first = ", ".join(f"{file} ({why})" for file, why in list(bad.items())[:3])
    return f"{first} and {len(bad) - 3} more" if len(bad) > 3 else first


def reason(error: Exception) -> str:
    """What an error says, without a path that the sentence around it has already."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "not an image of a known format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _default_folder() -> Path:
    import platformdirs

    return Path(os.environ.get("ROBUSTKD_CACHE") or platformdirs.user_cache_dir("robustkd", appauthor=False))


def _scratch(folder: Path) -> TemporaryDirectory[str]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return TemporaryDirectory(prefix="decoding-", dir=folder)
    except OSError as error:
        raise UsageError(
            f"the cache folder {folder} cannot be written ({reason(error)}):"
            " the environment variable ROBUSTKD_CACHE names another"
        ) from error


def _stamp(file: Path) -> tuple[int, int]:
    """Size and time; of a link that leads nowhere neither, which decoding will say."""
    try:
        stat = file.stat()
    except (OSError, ValueError):  # a name may hold what no file's does
        return -1, -1
    return stat.st_size, stat.st_mtime_ns


def _mark(content: bytes) -> tuple[int, str]:
    """Size and digest of what is at hand."""
    return len(content), digest(np.frombuffer(content, np.uint8))


def _skipped(record: Path) -> dict[str, str]:
    return dict(json.loads(record.read_text())["skipped"])


def _became_readable(root: Path, skipped: Iterable[str], size: int) -> bool:
    """Whether a file that could not be read now can: permissions and network drives leave no trace in a stamp."""
    one = np.empty((1, 3, size, size), np.uint8)
    return any(not decode(root, [file], one) for file in skipped)
