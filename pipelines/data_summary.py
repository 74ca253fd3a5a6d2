"""What a command prints about its data before it trains: how they were read, what was left out, and what each part is for."""

from collections import Counter
from pathlib import PurePath

from pipelines.console import console
from robustkd.data.splits import SplitRows, describe_split
from robustkd.data.view import Source

MAX_KINDS = 4  # kinds of files that are counted in a line


def print_data_summary(source: Source, rows: SplitRows) -> None:
    """Print how a data set was read and what its parts are used for, a line for each."""
    for line in (*reading_notes(source), describe_split(source, rows)):
        console.print(f"{source.name}: {line}", markup=False, highlight=False, soft_wrap=True)


def reading_notes(source: Source) -> list[str]:
    """Return sentences about how a data set was read, and about what was left out."""
    notes = list(source.notes)
    if source.skipped:
        notes.append(f"{len(source.skipped):,} image files that cannot be read are left out")
    if source.unread:
        notes.append(f"not read: {summarise_unread(source)} (`robustkd check-data` lists them)")
    return notes


def summarise_unread(source: Source) -> str:
    """Count what was found next to the images and not read, by reason and kind of file."""
    kinds = Counter((reason, PurePath(path).suffix) for path, reason in source.unread.items())
    most = kinds.most_common(MAX_KINDS)
    counts = [f"{count:,} {suffix} ({reason})".replace("  ", " ") for (reason, suffix), count in most]
    others = len(source.unread) - sum(count for _, count in most)
    return ", ".join([*counts, *([f"{others:,} more"] if others else [])])
