"""CSV files: one reader for all tables that users provide.

Files are UTF-8 with or without a byte order mark, separated by commas, semicolons, tabs or bars. Quotes must be closed, and
every line must have as many values as the first. No types are inferred: a cell is text as written, without
the single quote that keeps spreadsheets from taking it for a formula (robustkd.csv_cells).
"""

import csv
import io
import re
from pathlib import Path
from typing import NamedTuple

from robustkd.csv_cells import unquote_formula
from robustkd.data.decode import describe_error
from robustkd.data.paths import require_file
from robustkd.errors import UsageError


class CsvRows(NamedTuple):
    """The rows of a CSV file, at least one."""

    rows: list[list[str]]  # the first may be a header
    line_numbers: list[int]  # the line in which each row starts, from 1


def read_csv_rows(context: str, path: Path, *, keep_blank: bool = False, spaces: bool = False) -> CsvRows:
    """Read the rows of a CSV file.

    Args:
        context: what error messages start with.
        spaces: whether a space separates values where the first line has no other separator, as in lists of files.
        keep_blank: keep rows whose values are all blank, for files in which the order of rows matters. An empty line is such
            a row if the file has a single column. Otherwise these lines, which spreadsheets tend to leave, are skipped.

    Raises:
        UsageError: the file is missing, empty or not UTF-8, a quote is not closed, or a line has more or fewer values than
            the first.
    """
    text = _decode_text(context, path)
    # Separators within quoted names do not count.
    first = re.sub(r'"[^"]*"', "", text.lstrip("\r\n").partition("\n")[0])
    separator = max(",;\t|" if set(first) & set(",;\t|") or not spaces else " ", key=first.count)
    # Where a space follows every separator of the first line, it is not part of the values.
    spaced = 0 < first.count(separator) == first.count(f"{separator} ")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=spaced, strict=True)
    rows: list[list[str]] = []
    line_numbers, line = [], 1
    try:
        for row in reader:
            blank = not any(map(str.strip, row))
            if not blank or (keep_blank and rows and (row or len(rows[0]) == 1)):
                rows.append([unquote_formula(cell) for cell in row] or [""])
                line_numbers.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise UsageError(f"{context}: {path} is not a valid CSV file: line {line} is malformed ({error})") from None
    if not rows:
        raise UsageError(f"{context}: {path} is empty")
    for row, line in zip(rows, line_numbers, strict=True):
        if len(row) != len(rows[0]):
            raise UsageError(
                f"{context}: line {line} of {path} has {len(row)} values, but line {line_numbers[0]} has {len(rows[0])}"
            )
    return CsvRows(rows, line_numbers)


def _decode_text(context: str, path: Path) -> str:
    try:
        return require_file(context, path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{context}: {path} cannot be read ({describe_error(error)})") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UsageError(
            f"{context}: {path} is not UTF-8 (line {line}): save it in this encoding, called 'CSV UTF-8' in spreadsheets"
        ) from None
