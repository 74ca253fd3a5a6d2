"""A cache of decoded image files: one memory-mapped array per list of files."""

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from robustkd.data.decode import decode_files, describe_error, summarise_unreadable
from robustkd.data.resize import Pixels
from robustkd.errors import UsageError
from robustkd.hashing import digest

MappedPixels = np.memmap[tuple[Any, ...], np.dtype[np.uint8]]

CACHE_VERSION = 1  # part of every key: increase it when decode_image returns other pixels


class DecodedImages(NamedTuple):
    """The result of decoding a list of image files."""

    images: Pixels  # (n, C, S, S), memory-mapped; C is 1 if all images are grey
    digest: str  # of the images
    skipped: dict[str, str]  # the files that cannot be read, with reasons


def decode_with_cache(
    root: Path,
    files: Sequence[str],
    size: int,
    cache_dir: Path | None = None,
    contents: Mapping[str, bytes] | None = None,
) -> DecodedImages:
    """Return the images of files, decoded unless the same files are in the cache at this size.

    Args:
        root: the folder that the file names are relative to.
        files: the file names.
        size: side of the images, in pixels.
        cache_dir: the cache folder; None: $ROBUSTKD_CACHE or the user's cache folder.
        contents: file contents by name; files named here are not read from disk.

    Raises:
        UsageError: the cache folder is full or not writable, or no file can be read.
    """
    folder = cache_dir or default_cache_dir()
    contents = contents or {}
    # The root is part of the key: two unpacked archives of uncompressed images may agree in names, sizes and times.
    stamps = [
        (file, *(_content_stamp(contents[file]) if file in contents else _file_stamp(root / file))) for file in files
    ]
    key = digest(text=json.dumps([CACHE_VERSION, size, str(root.resolve()), stamps]))
    images, record = folder / f"{key}.npy", folder / f"{key}.json"
    complete = images.is_file() and record.is_file()
    if not complete or _any_readable(root, _skipped_files(record).keys() - contents.keys(), size):
        _write_cache(root, files, size, images, record, contents)
    return DecodedImages(
        np.load(images, mmap_mode="r"), json.loads(record.read_text())["digest"], _skipped_files(record)
    )


def _write_cache(
    root: Path, files: Sequence[str], size: int, images: Path, record: Path, contents: Mapping[str, bytes]
) -> None:
    """Decode into a scratch folder and move the complete result, so that an interrupted run leaves no partial cache."""
    with scratch_dir(images.parent) as scratch:
        require_free_space(f"decoding {len(files)} images", images.parent, 2 * len(files) * 3 * size * size)
        decoded = open_memmap(Path(scratch, "decoded.npy"), "w+", np.uint8, (len(files), 3, size, size))
        unreadable = decode_files(root, files, decoded, contents)
        if all(file in unreadable for file in files):
            raise UsageError(
                f"none of the {len(files)} image files in {root} can be read: {summarise_unreadable(unreadable)}"
            )
        compact = _compact(
            decoded, np.flatnonzero([file not in unreadable for file in files]), Path(scratch, "compact.npy")
        )
        compact.flush()
        content = json.dumps({"digest": digest(compact), "skipped": unreadable}, indent=1)
        Path(scratch, "record.json").write_text(content)
        result = Path(scratch, "decoded.npy" if compact is decoded else "compact.npy")
        del decoded, compact  # some systems cannot move a mapped file
        result.replace(images)
        Path(scratch, "record.json").replace(record)  # last, since it makes the cache valid


def _compact(decoded: MappedPixels, good: NDArray[np.int64], path: Path) -> MappedPixels:
    """Keep the readable rows, and a single channel if all of them are grey, in a new file if that changes anything."""
    blocks = [good[start : start + 1024] for start in range(0, len(good), 1024)]
    grey = all((decoded[block] == decoded[block, :1]).all() for block in blocks)
    shape = (len(good), 1 if grey else 3, *decoded.shape[2:])
    if shape == decoded.shape:
        return decoded
    compact = open_memmap(path, "w+", np.uint8, shape)
    for number, block in enumerate(blocks):
        compact[number * 1024 : number * 1024 + len(block)] = decoded[block, : shape[1]]
    return compact


def default_cache_dir() -> Path:
    """Return $ROBUSTKD_CACHE, or the user's cache folder."""
    import platformdirs

    return Path(os.environ.get("ROBUSTKD_CACHE") or platformdirs.user_cache_dir("robustkd", appauthor=False))


def require_free_space(what: str, folder: Path, needed: int) -> None:
    """Raise a UsageError if a cache folder lacks the bytes: writing to a memory map on a full disk would crash the process."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UsageError(
            f"{what} takes {needed / 1e9:.1f} GB in {folder}, which has {free / 1e9:.1f} GB free: the environment variable"
            " ROBUSTKD_CACHE sets another folder"
        )


def scratch_dir(folder: Path) -> TemporaryDirectory[str]:
    """Create a temporary folder in a cache folder, and the latter if it does not exist."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return TemporaryDirectory(prefix="decoding-", dir=folder)
    except OSError as error:
        raise UsageError(
            f"the cache folder {folder} cannot be written ({describe_error(error)}):"
            " the environment variable ROBUSTKD_CACHE sets another"
        ) from error


def _file_stamp(file: Path) -> tuple[int, int]:
    """Return a file's size and modification time, or (-1, -1) for a broken link, which decoding reports."""
    try:
        stat = file.stat()
    except (OSError, ValueError):  # ValueError: the name contains a null character
        return -1, -1
    return stat.st_size, stat.st_mtime_ns


def _content_stamp(content: bytes) -> tuple[int, str]:
    """Return the size and digest of a file's content."""
    return len(content), digest(np.frombuffer(content, np.uint8))


def _skipped_files(record: Path) -> dict[str, str]:
    return dict(json.loads(record.read_text())["skipped"])


def _any_readable(root: Path, skipped: Iterable[str], size: int) -> bool:
    """Return whether a skipped file can be read now: permissions and network drives do not change a file's stamp."""
    pixels = np.empty((1, 3, size, size), np.uint8)
    return any(not decode_files(root, [file], pixels) for file in skipped)
