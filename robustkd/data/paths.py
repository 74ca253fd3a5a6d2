"""Paths that users name: what is reported of those that lead nowhere."""

from pathlib import Path

from robustkd.errors import UsageError, did_you_mean


def require_file(word: str, path: Path) -> Path:
    """A user's file, which must be one.

    Raises:
        UsageError: it is not there, or it is a folder.
    """
    if path.is_file():
        return path
    kind = "a folder, not a file" if path.is_dir() else "no file that can be read again"
    raise UsageError(f"{word}: {path} is {kind}" if path.exists() else describe_missing_path(word, path))


def describe_missing_path(word: str, path: Path) -> str:
    """The sentence for a path that leads nowhere, with the nearest name beside it."""
    beside = [near.name for near in path.parent.iterdir()] if path.parent.is_dir() else []
    return f"{word}: there is no {path}{did_you_mean(path.name, beside)}"
