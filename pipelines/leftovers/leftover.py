"""Something that can be removed, and how files are looked at before they are."""

import json
import stat
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustkd.locks import LOCK_FILE


@dataclass(frozen=True)
class Leftover(ABC):
    """Something that can be removed.

    Attributes:
        path: its folder, or its main file.
        files: all its files, in the order in which they are removed.
        reason: why it can be removed.
        kept: why it is not removed nevertheless; empty if it is.
    """

    path: Path
    files: tuple[Path, ...]
    reason: str
    kept: str = ""

    @property
    def bytes(self) -> int:
        """The size of its files."""
        return sum(file.lstat().st_size for file in self.files)

    @property
    def age(self) -> float:
        """Seconds since it was last written or used. Locks do not count, which are written when they are tried."""
        return seconds_since_change(file for file in self.files if file.name != LOCK_FILE)

    @abstractmethod
    def remove(self) -> None:
        """Remove its files, and its folders unless something else is in them.

        Raises:
            robustkd.errors.UsageError: it has come into use since it was found.
            OSError: a file cannot be removed.
        """


def is_plain_file(path: Path) -> bool:
    """Return whether a path is a file, and not a link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def list_folders(folder: Path) -> Iterator[Path]:
    """Yield the folders in a folder, without links to folders; none if it does not exist."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_dir() and not path.is_symlink():
            yield path


def read_json(file: Path) -> dict[str, Any]:
    """Return the content of a JSON file; an empty dictionary if it is a link or has no such content."""
    if not is_plain_file(file):
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def seconds_since_change(files: Iterable[Path]) -> float:
    """Return the time since the latest change of any of the files, in seconds."""
    return time.time() - max((file.lstat().st_mtime for file in files), default=0.0)
