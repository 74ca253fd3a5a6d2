"""Checks of paths given by the user."""

from collections.abc import Sequence
from pathlib import Path

from robustkd.errors import UsageError, did_you_mean, escape_controls


def require_file(context: str, path: Path) -> Path:
    """Return the path if it is a regular file.

    Args:
        context: what the error message starts with.

    Raises:
        UsageError: the path does not exist, or it is a folder or a special file such as a pipe.
    """
    if path.is_file():
        return path
    problem = "is a folder, not a file" if path.is_dir() else "is not a regular file"
    raise UsageError(f"{context}: {path} {problem}" if path.exists() else describe_missing_path(context, path))


def describe_missing_path(context: str, path: Path) -> str:
    """Return the message for a path that does not exist, with the closest name in its folder.

    A relative path is given with the current folder, which need not be the user's: `mlflow run` starts in the project's.
    """
    names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    place = "" if path.is_absolute() else f" in {Path.cwd()}"
    return f"{context}: there is no {path}{place}{did_you_mean(path.name, names)}"


def to_writable_names(names: Sequence[str]) -> Sequence[str]:
    r"""Return file names that can be written as UTF-8 and printed: other bytes, as of an old archive, and controls are escaped.

    >>> to_writable_names(("b\udce9.png", "ü.png", "\x1b[31m.png"))
    ('b\\udce9.png', 'ü.png', '\\x1b[31m.png')
    """
    return tuple(escape_controls(name).encode("utf-8", "backslashreplace").decode() for name in names)
