"""Damaged files of a study: found by their digests, and set aside so that they are made again.

A document (trained.json, result.json) has a checksum of its own and lists the digests of the files that were written before it.
Networks and arrays are ZIP archives, which have checksums too. What does not match is renamed to NAME.damaged, never deleted.
"""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from robustkd.errors import UsageError
from robustkd.hashing import file_digest
from robustkd.study.results import Document, RunResult, TrainingInfo, read_document

DAMAGED = ".damaged"  # suffix of files that were set aside
DOCUMENTS: dict[str, type[TrainingInfo] | type[RunResult]] = {"trained.json": TrainingInfo, "result.json": RunResult}


def digest_files(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the digests of those files that exist, by name."""
    return {name: file_digest(folder / name) for name in names if (folder / name).exists()}


def is_whole(folder: Path, document: TrainingInfo | RunResult) -> bool:
    """Whether all files that a document lists exist and are as they were written."""
    return not _changed_files(folder, document)


def find_damaged_files(folder: Path) -> list[str]:
    """Return the names of a run's damaged files: unreadable documents, and files that differ from what a document lists.

    A file that is missing is not damaged, but `is_whole` is False without it.
    """
    damaged = []
    for name, model in DOCUMENTS.items():
        if (folder / name).exists():
            document = _read_or_none(folder / name, model)
            changed = [name] if document is None else _changed_files(folder, document)
            damaged += [file for file in changed if (folder / file).exists()]
    return list(dict.fromkeys(damaged))


def set_aside(path: Path) -> Path:
    """Rename a damaged file, replacing one that was set aside before; return its new path."""
    return path.replace(path.with_name(path.name + DAMAGED))


def _read_or_none(path: Path, model: type[TrainingInfo] | type[RunResult]) -> TrainingInfo | RunResult | None:
    try:
        return read_document(path, model)
    except UsageError:
        return None


def _changed_files(folder: Path, document: Document) -> list[str]:
    files: dict[str, str] = getattr(document, "files", {})
    return [name for name, digest in files.items() if _digest_or_none(folder / name) != digest]


def _digest_or_none(path: Path) -> str | None:
    try:
        stat = path.stat()
        return _cached_digest(path, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size)
    except OSError:
        return None


@lru_cache(maxsize=4096)
def _cached_digest(path: Path, *_: int) -> str:
    """Return a file's digest; its times and size, which are part of the key, stand for its content within a process."""
    return file_digest(path)
