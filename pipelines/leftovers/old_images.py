"""Cached arrays of decoded images that were not used for long, and what a killed process left while it decoded.

The time of a record's last change is that of its last use (robustkd/data/image_cache.py). An array that is removed is decoded
again when it is needed.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from pipelines.leftovers.leftover import Leftover, is_plain_file, list_folders, read_json, seconds_since_change

DAY = 86_400  # seconds
RECORD = re.compile(r"[0-9a-f]{16}\.json")
RECORD_KEYS = {"checksum", "digest"}  # next to `skipped` for files, and `notes` for arrays
ARRAY_START = b"\x93NUMPY"
SCRATCH_FOLDER = re.compile(r"decoding-\w{8}")
SCRATCH_FILE = re.compile(r"(decoded|compact|pixels)\.npy|record\.json")


class OldImages(Leftover):
    """A cached array: its record, without which it is not read, and its pixels."""

    def remove(self) -> None:
        """Remove both files."""
        for file in self.files:
            file.unlink(missing_ok=True)


class Scratch(Leftover):
    """The folder of an interrupted decoding."""

    def remove(self) -> None:
        """Remove its files and the folder."""
        for file in self.files:
            file.unlink(missing_ok=True)
        self.path.rmdir()


def find_old_images(cache: Path, days: float) -> Iterator[Leftover]:
    """Yield what was not used for a number of days.

    Args:
        cache: the folder with decoded images.
        days: of interrupted decodings at least one, since one that is going on writes to its files.
    """
    for record in sorted(cache.glob("*.json")) if cache.is_dir() else ():
        images = record.with_suffix(".npy")
        if is_cached_array(record, images) and seconds_since_change([record]) >= days * DAY:
            yield OldImages(images, (record, images), "decoded images, which are decoded again when needed")
    for folder in list_folders(cache):
        files = tuple(sorted(folder.iterdir())) if SCRATCH_FOLDER.fullmatch(folder.name) else ()
        is_ours = bool(files) and all(SCRATCH_FILE.fullmatch(file.name) and is_plain_file(file) for file in files)
        if is_ours and seconds_since_change(files) >= max(days, 1) * DAY:
            yield Scratch(folder, files, "left by a process that was killed while it decoded images")


def is_cached_array(record: Path, images: Path) -> bool:
    """Return whether two files are a cached array and its record."""
    if not (RECORD.fullmatch(record.name) and is_plain_file(images)):
        return False
    content = read_json(record)
    with images.open("rb") as file:
        is_array = file.read(len(ARRAY_START)) == ARRAY_START
    return is_array and content.keys() >= RECORD_KEYS and ("notes" in content or "skipped" in content)
