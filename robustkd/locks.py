"""Locks between processes on one machine."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from robustkd.errors import UsageError
from robustkd.hashing import digest

LOCK_FILE = ".lock"  # in a folder that is locked


@contextmanager
def hold_lock(resource: Path | str, busy: str | None = None, patience: float = 0.0) -> Iterator[None]:
    """Hold the lock of a resource for the duration of the context.

    Args:
        resource: a folder, which is created and locked for all users by a hidden file in it; or a name, locked for
            this user by a file in the folder for temporary files.
        busy: the message with which to refuse when another process holds the lock; None: wait for it.
        patience: seconds to wait before it is refused.

    Raises:
        robustkd.errors.UsageError: the lock is held and `busy` is given.
    """
    path = _lock_file(resource)
    try:
        with FileLock(path, timeout=-1 if busy is None else patience):
            yield
    except Timeout:
        raise UsageError(str(busy)) from None


def _lock_file(resource: Path | str) -> Path:
    """Return the file of a resource's lock."""
    if isinstance(resource, str):
        user = os.getuid() if hasattr(os, "getuid") else ""  # a lock file of another user could not be opened
        return Path(tempfile.gettempdir()) / f"robustkd-{digest(text=f'{resource} of user {user}')}.lock"
    resource.mkdir(parents=True, exist_ok=True)
    return resource / LOCK_FILE
