"""clean: list old caches and superseded studies, and remove them once the user agrees."""

import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.console import console, format_bytes, format_duration
from pipelines.leftovers.leftover import Leftover
from pipelines.leftovers.old_images import find_old_images
from pipelines.leftovers.old_studies import find_old_studies
from robustkd.data.image_cache import default_cache_dir
from robustkd.errors import ExecutionError, UsageError


def main(out: Path, days: float, yes: bool) -> None:
    """List what can be removed; remove it if the user agrees, with --yes or when asked on a terminal.

    Raises:
        robustkd.errors.ExecutionError: something could not be removed.
    """
    found = [*find_old_images(default_cache_dir(), days), *find_old_studies(out)]
    for leftover in (each for each in found if each.kept):
        console.print(f"{leftover.path}: superseded ({leftover.reason}), but kept: {leftover.kept}", highlight=False)
    removable = [leftover for leftover in found if not leftover.kept]
    if not removable:
        console.print(f"nothing to remove in {out} and {default_cache_dir()}", highlight=False)
        return
    for leftover in removable:
        console.print(describe_leftover(leftover), highlight=False)
    size = format_bytes(sum(leftover.bytes for leftover in removable))
    if not (yes or agrees(f"remove {describe_number(removable)}, {size}?")):
        console.print(f"nothing is removed; the same command with --yes removes {describe_number(removable)}, {size}")
        return
    remove_all(removable)
    console.print(f"{describe_number(removable)} removed, {size}")


def describe_leftover(leftover: Leftover) -> str:
    """Return a line with size, age, path and reason."""
    size, age = format_bytes(leftover.bytes), format_duration(max(0.0, leftover.age))
    return f"{size:>7}  unused for {age:>9}  {leftover.path}: {leftover.reason}"


def describe_number(leftovers: Sequence[Leftover]) -> str:
    """Return how many there are, as "1 item"."""
    return f"{len(leftovers)} {'item' if len(leftovers) == 1 else 'items'}"


def agrees(question: str) -> bool:
    """Ask the user on a terminal; elsewhere the answer is no."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    console.print(f"{question} [y/N] ", end="")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def remove_all(leftovers: Sequence[Leftover]) -> None:
    """Remove everything that can be.

    Raises:
        robustkd.errors.ExecutionError: something could not be removed.
    """
    failures = []
    for leftover in leftovers:
        try:
            leftover.remove()
        except (UsageError, OSError) as error:
            failures.append(str(error))
    if failures:
        raise ExecutionError(f"{len(failures)} of {len(leftovers)} items are not removed: {'; '.join(failures)}")
