"""A cache of decoded image files: one memory-mapped array per list of files."""

import json
import logging
import os
import shutil
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from robustkd.data.decode import decode_files, describe_error, summarise_unreadable
from robustkd.data.image_formats import MAX_PIXELS
from robustkd.data.resize import Pixels
from robustkd.data.value_range import ValueRange
from robustkd.errors import UsageError
from robustkd.hashing import digest

MappedPixels = np.memmap[tuple[Any, ...], np.dtype[np.uint8]]

CACHE_VERSION = 2  # part of every key: increase it when decode_image returns other pixels, or the record changes
SAMPLED_BYTES = 4096  # of the start, the middle and the end of a file, which its key depends on

logger = logging.getLogger(__name__)


class DecodedImages(NamedTuple):
    """The result of decoding a list of image files."""

    images: Pixels  # (n, C, S, S), memory-mapped; C is 1 if all images are grey
    digest: str  # of the images
    skipped: dict[str, str]  # the files that cannot be read, with reasons
    value_range: ValueRange | None  # by which values of more than 8 bits were scaled; None if there are none


def decode_with_cache(
    root: Path,
    files: Sequence[str],
    size: int,
    cache_dir: Path | None = None,
    contents: Mapping[str, bytes] | None = None,
    value_range: ValueRange | None = None,
    max_pixels: int = MAX_PIXELS,
) -> DecodedImages:
    """Return the images of files, decoded unless the same files are in the cache at this size.

    Files are the same if their paths, sizes, times, inodes and samples of their contents are. A cached array is verified by a
    checksum, and decoded again if it is damaged.

    Args:
        root: the folder that the file names are relative to.
        files: the file names.
        size: side of the images, in pixels.
        cache_dir: the cache folder; None: $ROBUSTKD_CACHE or the user's cache folder.
        contents: file contents by name; files named here are not read from disk.
        value_range: by which values of more than 8 bits are scaled; None: the range that holds those of all files.
        max_pixels: of each image, beyond which a file counts as unreadable.

    Raises:
        UsageError: the cache folder is full or not writable, or no file can be read.
    """
    folder = cache_dir or default_cache_dir()
    contents = contents or {}
    # The root is part of the key: two unpacked archives of uncompressed images may agree in names, sizes and times.
    stamps = [
        (file, *(_content_stamp(contents[file]) if file in contents else _file_stamp(root / file))) for file in files
    ]
    given = [] if max_pixels == MAX_PIXELS else [max_pixels]
    key = digest(text=json.dumps([CACHE_VERSION, size, value_range, str(root.resolve()), stamps, *given]))
    images, record_file = folder / f"{key}.npy", folder / f"{key}.json"
    record = read_record(images, record_file)
    if record is None or _any_readable(root, record["skipped"].keys() - contents.keys(), size, max_pixels):
        record = _write_cache(root, files, size, images, record_file, contents, value_range, max_pixels)
    used_range = None if record["value_range"] is None else ValueRange(*record["value_range"])
    return DecodedImages(np.load(images, mmap_mode="r"), record["digest"], record["skipped"], used_range)


def read_record(images: Path, record_file: Path) -> dict[str, Any] | None:
    """Return the record of a cached array; None if there is none, or if array or record are not as they were written.

    Damage is reported to the log, which is printed on standard error by default.
    """
    if not (images.is_file() and record_file.is_file()):
        return None
    try:
        record: dict[str, Any] = json.loads(record_file.read_text(encoding="utf-8"))
        intact = record.pop("checksum") == _compute_checksum(images, record)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
    ):  # a damaged record, or a file that cannot be read
        intact = False
    if not intact:
        logger.warning(f"{images}: the cached images are damaged, and are read again from their files")
        return None
    with suppress(OSError):  # a cache that others may only read
        record_file.touch()  # the time of its last use, for `robustkd clean`
    return record


def write_record(record_file: Path, images: Path, record: Mapping[str, Any]) -> None:
    """Write the record of a cached array, with a checksum of both."""
    content = {**record, "checksum": _compute_checksum(images, record)}
    record_file.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _compute_checksum(images: Path, record: Mapping[str, Any]) -> int:
    """Return the CRC-32 of an array's file and its record, which every flipped bit changes. A digest would be slower."""
    checksum = zlib.crc32(json.dumps(record).encode())
    with images.open("rb", buffering=0) as file:
        while block := file.read(1 << 20):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _write_cache(
    root: Path,
    files: Sequence[str],
    size: int,
    images: Path,
    record_file: Path,
    contents: Mapping[str, bytes],
    value_range: ValueRange | None,
    max_pixels: int,
) -> dict[str, Any]:
    """Decode into a scratch folder and move the complete result, so that an interrupted run leaves no partial cache."""
    with scratch_dir(images.parent) as scratch:
        require_free_space(f"decoding {len(files)} images", images.parent, 2 * len(files) * 3 * size * size)
        decoded = open_memmap(Path(scratch, "decoded.npy"), "w+", np.uint8, (len(files), 3, size, size))
        unreadable, value_range = decode_files(root, files, decoded, contents, value_range, max_pixels)
        if all(file in unreadable for file in files):
            raise UsageError(
                f"none of the {len(files)} image files in {root} can be read: {summarise_unreadable(unreadable)}"
            )
        compact = _compact(
            decoded, np.flatnonzero([file not in unreadable for file in files]), Path(scratch, "compact.npy")
        )
        compact.flush()
        result = Path(scratch, "decoded.npy" if compact is decoded else "compact.npy")
        record = {"digest": digest(compact), "skipped": unreadable, "value_range": value_range}
        write_record(Path(scratch, "record.json"), result, record)
        del decoded, compact  # some systems cannot move a mapped file
        result.replace(images)
        Path(scratch, "record.json").replace(record_file)  # last, since it makes the cache valid
        return record


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


def _file_stamp(file: Path) -> tuple[int, ...]:
    """Return what identifies a file's content without reading all of it; (-1,) if it cannot be read, which decoding reports.

    A time of change or an inode that a network drive makes up at every mount costs a decoding, but shows no wrong image.
    """
    try:
        stat, checksum = file.stat(), 0
        if not S_ISREG(stat.st_mode):  # opening a pipe would block
            return (-1,)
        with file.open("rb", buffering=0) as opened:
            last = max(0, stat.st_size - SAMPLED_BYTES)
            for start in sorted({0, last // 2, last}):
                opened.seek(start)
                checksum = zlib.crc32(opened.read(SAMPLED_BYTES), checksum)
    except (OSError, ValueError):  # ValueError: the name contains a null character
        return (-1,)
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, checksum


def _content_stamp(content: bytes) -> tuple[int, str]:
    """Return the size and digest of a file's content."""
    return len(content), digest(np.frombuffer(content, np.uint8))


def _any_readable(root: Path, skipped: Iterable[str], size: int, max_pixels: int) -> bool:
    """Return whether a skipped file can be read now: permissions and network drives do not change a file's stamp."""
    pixels = np.empty((1, 3, size, size), np.uint8)
    return any(not decode_files(root, [file], pixels, max_pixels=max_pixels).unreadable for file in skipped)
