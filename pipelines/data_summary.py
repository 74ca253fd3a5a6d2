"""What a command prints about its data before it trains: how they were read, what was left out, and what each part is for."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import PurePath

from pipelines.console import console
from robustkd.data.leaks import CheckedSplit, split_and_check
from robustkd.data.splits import SplitRows, describe_split
from robustkd.data.view import Source
from robustkd.study.options import DataOptions

MAX_KINDS = 4  # extensions that are counted one by one


def split_data(options: DataOptions, source: Source) -> CheckedSplit:
    """Split a data set and print how it was read, what its parts are used for, and what its copies mean.

    Both are done once for a data set that was read once, as in a sweep over scenarios.

    Raises:
        robustkd.errors.UsageError: the data set cannot be divided.
    """
    return _split_and_print(source, options.held_out, options.split_seed, options.group_near_copies)


@lru_cache(maxsize=1)
def _split_and_print(source: Source, held_out: float, seed: int, keep_near_copies: bool) -> CheckedSplit:
    split = split_and_check(source, held_out=held_out, seed=seed, keep_near_copies=keep_near_copies)
    print_data_summary(split.source, split.rows, [*split.copies, *split.leaks])
    return split


def print_data_summary(source: Source, rows: SplitRows, copies: Iterable[str] = ()) -> None:
    """Print how a data set was read, what its parts are used for, and notes about copies, a line for each."""
    for line in (*reading_notes(source), describe_split(source, rows), *copies):
        console.print(f"{source.name}: {line}", highlight=False, soft_wrap=True)


def reading_notes(source: Source) -> list[str]:
    """Return sentences about how a data set was read, and about what was left out."""
    notes = list(source.notes)
    if source.value_range is not None:
        notes.append(f"images of more than 8 bits: {source.value_range.describe()}")
    if source.skipped:
        notes.append(f"{len(source.skipped):,} image files that cannot be read are left out")
    if source.unread:
        notes.append(f"not read: {summarise_unread(source.unread)} (`robustkd check-data` lists them)")
    return notes


def summarise_unread(unread: Mapping[str, str]) -> str:
    """Count what was found below a path and not read, by reason and kind of file, given the reason by path.

    >>> summarise_unread({"a.mp4": "a video", "b.mp4": "a video", "c.md": "not an image", "d": "not an image", "e": "a link"})
    'a video: 2 .mp4; not an image: 1 .md, 1 without extension; a link: 1'
    """
    by_reason: dict[str, list[str]] = {}
    for path, reason in unread.items():
        by_reason.setdefault(reason, []).append(PurePath(path).suffix)
    return "; ".join(f"{reason}: {_count_suffixes(suffixes)}" for reason, suffixes in by_reason.items())


def _count_suffixes(suffixes: Sequence[str]) -> str:
    """Count files by extension, the most frequent ones by name."""
    if not any(suffixes):
        return f"{len(suffixes):,}"
    most = Counter(suffixes).most_common(MAX_KINDS)
    others = len(suffixes) - sum(count for _, count in most)
    counts = [f"{count:,} {suffix or 'without extension'}" for suffix, count in most]
    return ", ".join([*counts, *([f"{others:,} others"] if others else [])])
