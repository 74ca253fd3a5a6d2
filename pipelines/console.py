"""The console that commands print to, and durations as they are printed there."""

import codecs
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from robustkd.errors import escape_controls


class PlainConsole(Console):
    """A console that prints text as it is, since names of classes and files may contain anything.

    Square brackets and colons in them mean nothing, and control characters, on which terminals act, are escaped.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(soft_wrap=True, markup=False, emoji=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=escape_controls(segment.text, keep="\n"))


# A log file has no width, but tables need one.
console = PlainConsole(width=None if sys.stdout.isatty() else 110)

# What tables and sentences are set with, for consoles that lack it.
_PLAIN = {**dict.fromkeys("─━╌–—−", "-"), **dict.fromkeys("│┃", "|"), **dict.fromkeys("┏┓┗┛┡┩└┘┌┐├┤┬┴┼╇╈", "+")}
_PLAIN |= {"’": "'", "‘": "'", "“": '"', "”": '"', "…": "...", "×": "x", "±": "+-", "≤": "<=", "≥": ">=", "→": "->"}


def replace_unprintable() -> None:
    """Replace what the encoding of standard output lacks, such as class names under Windows' cp1252, instead of failing.

    Standard error replaces such characters by default.
    """
    codecs.register_error("robustkd", _replace_characters)
    if hasattr(sys.stdout, "reconfigure"):  # a notebook's stream takes any character
        sys.stdout.reconfigure(errors="robustkd")


def _replace_characters(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(_PLAIN.get(letter, "?") for letter in error.object[error.start : error.end]), error.end


def is_printable(text: str) -> bool:
    """Return whether standard output has all characters of a text."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def format_duration(seconds: float) -> str:
    """Format a duration in seconds, minutes, hours or days.

    >>> [format_duration(seconds) for seconds in (40, 600, 9000, 400_000)]
    ['40 s', '10 min', '2.5 h', '4.6 days']
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def format_bytes(count: int) -> str:
    """Format a number of bytes in powers of 1000.

    >>> [format_bytes(count) for count in (12, 3_456, 78_000_000, 1_250_000_000, 2_000_000_000_000)]
    ['12 B', '3.5 kB', '78 MB', '1.2 GB', '2 TB']
    """
    for power, unit in ((4, "TB"), (3, "GB"), (2, "MB"), (1, "kB")):
        if count >= 1000**power:
            value = count / 1000**power
            return f"{value:.1f}".removesuffix(".0") + f" {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{count} B"
