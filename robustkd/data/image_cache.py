"""A cache of decoded image files."""

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from numpy.lib.format import open_memmap

from robustkd.data.decode import decode_files, describe_error, summarise_unreadable
from robustkd.data.resize import Pixels
from robustkd.errors import UsageError
from robustkd.hashing import digest

CACHE_VERSION = 1  # of what a cached array holds: raise it whenever picture() answers differently


class DecodedImages(NamedTuple):
    """What became of a list of image files."""

    images: Pixels  # (n, C, S, S), memory-mapped; C is 1 where all of them are grey
    digest: str  # of the images
    skipped: dict[str, str]  # the files that cannot be read, and why


def decode_with_cache(
    root: Path,
    files: Sequence[str],
    size: int,
    cache_dir: Path | None = None,
    contents: Mapping[str, bytes] | None = None,
) -> DecodedImages:
    """The images of files below root, decoded unless these very files have been before, at this size.

    Where a file's content is at hand in `contents`, nothing is looked for below root, and its name is but a name.

    Raises:
        UsageError: the cache folder cannot be written or is full, or no file can be read.
    """
    folder = cache_dir or _default_cache_dir()
    # The place is part of the key: names, sizes and times alone agree in two unpackings of uncompressed images.
    held = contents or {}
    listing = [(file, *(_content_stamp(held[file]) if file in held else _file_stamp(root / file))) for file in files]
    key = digest(text=json.dumps([CACHE_VERSION, size, str(root.resolve()), listing]))
    images, record = folder / f"{key}.npy", folder / f"{key}.json"
    if not (images.is_file() and record.is_file()) or _any_readable(
        root, _skipped_files(record).keys() - held.keys(), size
    ):
        _write_cache(root, files, size, images, record, held)
    return DecodedImages(
        np.load(images, mmap_mode="r"), json.loads(record.read_text())["digest"], _skipped_files(record)
    )


def _write_cache(
    root: Path, files: Sequence[str], size: int, images: Path, record: Path, contents: Mapping[str, bytes]
) -> None:
    """Decode into a folder of its own and move what is complete: what is interrupted is never taken for a cache."""
    with _scratch_dir(images.parent) as scratch:
        needed, free = 2 * len(files) * 3 * size * size, shutil.disk_usage(scratch).free
        if free < needed:  # a memory-mapped file that meets a full disk ends the process without a word
            raise UsageError(
                f"decoding {len(files)} images takes {needed / 1e9:.1f} GB in {images.parent}, which has"
                f" {free / 1e9:.1f} GB free: the environment variable ROBUSTKD_CACHE names another folder"
            )
        whole = open_memmap(Path(scratch, "whole.npy"), "w+", np.uint8, (len(files), 3, size, size))
        bad = decode_files(root, files, whole, contents)
        if all(file in bad for file in files):
            raise UsageError(f"none of the {len(files)} image files in {root} can be read: {summarise_unreadable(bad)}")
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


def _default_cache_dir() -> Path:
    import platformdirs

    return Path(os.environ.get("ROBUSTKD_CACHE") or platformdirs.user_cache_dir("robustkd", appauthor=False))


def _scratch_dir(folder: Path) -> TemporaryDirectory[str]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return TemporaryDirectory(prefix="decoding-", dir=folder)
    except OSError as error:
        raise UsageError(
            f"the cache folder {folder} cannot be written ({describe_error(error)}):"
            " the environment variable ROBUSTKD_CACHE names another"
        ) from error


def _file_stamp(file: Path) -> tuple[int, int]:
    """Size and time; of a link that leads nowhere neither, which decoding will say."""
    try:
        stat = file.stat()
    except (OSError, ValueError):  # a name may hold what no file's does
        return -1, -1
    return stat.st_size, stat.st_mtime_ns


def _content_stamp(content: bytes) -> tuple[int, str]:
    """Size and digest of what is at hand."""
    return len(content), digest(np.frombuffer(content, np.uint8))


def _skipped_files(record: Path) -> dict[str, str]:
    return dict(json.loads(record.read_text())["skipped"])


def _any_readable(root: Path, skipped: Iterable[str], size: int) -> bool:
    """Whether a file that could not be read now can: permissions and network drives leave no trace in a stamp."""
    one = np.empty((1, 3, size, size), np.uint8)
    return any(not decode_files(root, [file], one) for file in skipped)
