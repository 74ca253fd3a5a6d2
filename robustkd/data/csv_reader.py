"""CSV files, read in one way wherever one is taken.

UTF-8 with or without a byte order mark; commas, or semicolons or tabs as some spreadsheets write them; quotes that close; and
in each line as many values as in the first. Nothing is guessed: a cell is a text as it stands there.
"""

import csv
import io
import re
from pathlib import Path
from typing import NamedTuple

from robustkd.data.decode import describe_error
from robustkd.data.paths import require_file
from robustkd.errors import UsageError


class CsvRows(NamedTuple):
    """What a file holds, at least one line of it."""

    rows: list[list[str]]  # the first may be a header
    numbers: list[int]  # the line of the file that each begins in, from 1


def read_csv_rows(word: str, path: Path, *, gaps: bool = False) -> CsvRows:
    """The lines of a CSV file.

    Args:
        word: what an error begins with.
        gaps: whether a line in which nothing stands is a row too, as it must be where the order of lines counts: a line of
            separators alone, and below a single column a blank one. Else such lines, which spreadsheets leave, are skipped.

    Raises:
        UsageError: the file is missing, empty or no UTF-8, a quote does not close, or a line is longer or shorter than the
            first.
    """
    text = _read_text(word, path)
    # A name in quotes may hold any separator.
    first = re.sub(r'"[^"]*"', "", text.lstrip("\r\n").partition("\n")[0])
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), strict=True)
    rows: list[list[str]] = []
    numbers, line = [], 1
    try:
        for row in reader:
            hollow = not any(map(str.strip, row))
            if not hollow or (gaps and rows and (row or len(rows[0]) == 1)):
                rows.append(row or [""])
                numbers.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise UsageError(f"{word}: {path} is not a table: line {line} breaks off ({error})") from None
    if not rows:
        raise UsageError(f"{word}: {path} is empty")
    for row, line in zip(rows, numbers, strict=True):
        if len(row) != len(rows[0]):
            raise UsageError(
                f"{word}: line {line} of {path} has {len(row)} values, but line {numbers[0]} has {len(rows[0])}"
            )
    return CsvRows(rows, numbers)


def _read_text(word: str, path: Path) -> str:
    try:
        return require_file(word, path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{word}: {path} cannot be read ({describe_error(error)})") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UsageError(
            f"{word}: {path} is not UTF-8 (line {line}): save it as such, which spreadsheets call 'CSV UTF-8'"
        ) from None
