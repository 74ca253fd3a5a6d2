"""Atomic file writes: a reader sees either the old file or the complete new one, even if the process is killed."""

import os
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{32}\.tmp")  # the names of temporary files, with that of the target


def write_atomically(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Create or replace a file with what a function writes to a binary stream.

    The data goes to a temporary file in the same folder, under a name that no other process or thread uses, which then
    replaces the target once it is on the disk, so that a crash of the machine leaves no empty file either. If the function
    raises, the target is unchanged and the temporary file is removed.

    Args:
        path: the target; its folder must exist.
        write: called once with the open temporary file.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_temporary_files(folder: Path) -> None:
    """Remove the temporary files in a folder that processes left which were killed while they wrote.

    The caller holds a lock that all writers in this folder hold.
    """
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def write_text_atomically(path: Path, text: str) -> None:
    """Create or replace a text file, encoded in UTF-8."""
    write_atomically(path, lambda file: file.write(text.encode("utf-8")))
