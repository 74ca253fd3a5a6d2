"""Locks between processes on one machine."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from robustkd.errors import UsageError
from robustkd.hashing import digest


@contextmanager
def hold_lock(resource: Path | str, busy: str | None = None) -> Iterator[None]:
    """Hold the lock of a resource for the duration of the context.

    Args:
        resource: what is locked, by its path or address.
        busy: the message with which to refuse when another process holds the lock; None: wait for it.

    Raises:
        robustkd.errors.UsageError: the lock is held and `busy` is given.
    """
    path = Path(tempfile.gettempdir()) / f"robustkd-{digest(text=str(resource))}.lock"
    try:
        with FileLock(path, timeout=-1 if busy is None else 0):
            yield
    except Timeout:
        raise UsageError(str(busy)) from None
