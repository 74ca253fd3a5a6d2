"""Text in CSV files that spreadsheets do not take for formulas: one writer, whose reader is robustkd.data.csv_reader.

A cell that starts with = + - @, a tab or the end of a line is evaluated by spreadsheets, whatever quotes surround it. The
names of classes and files are anybody's, so such text is written with a single quote before it, and read without it; plain
numbers stay as they are. Text that has single quotes before such a character gets one more, so that everything is read as it
was. OWASP, "CSV Injection", https://owasp.org/www-community/attacks/CSV_Injection.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from robustkd.atomic import write_atomically

if TYPE_CHECKING:
    import pandas as pd

# The last four are full-width, which count as the others.
_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def quote_formula(text: str) -> str:
    """Return the text of a cell as it is written.

    >>> [quote_formula(text) for text in ("=1+1", "-x.png", "-1", "cat", "'cat'", "'=a")]
    ["'=1+1", "'-x.png", '-1', 'cat', "'cat'", "''=a"]
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def unquote_formula(text: str) -> str:
    """Return the text of a cell as it was before it was written.

    >>> [unquote_formula(text) for text in ("'=1+1", "-1", "'cat'", "''=a")]
    ['=1+1', '-1', "'cat'", "'=a"]
    """
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def write_csv(table: "pd.DataFrame", target: Path | IO[str], *, index: bool = True, digits: int | None = None) -> None:
    """Write a table to a file, atomically, or to a stream; text in cells, index and header is quoted where it is needed.

    Args:
        digits: decimals of numbers; None: all.
    """
    # The csv module encloses a carriage return in quotes only if lines end with one.
    texts, form = _texts(table), None if digits is None else f"%.{digits}f"
    end = "\r\n" if any("\r" in text for text in texts) else "\n"
    quoted = _replace_text(table, {text: quote_formula(text) for text in texts if quote_formula(text) != text})

    def write(file: Any) -> None:
        quoted.to_csv(file, index=index, float_format=form, lineterminator=end)

    if isinstance(target, Path):
        write_atomically(target, write)
    else:
        write(target)


def _texts(table: "pd.DataFrame") -> set[str]:
    """Return all texts in a table's cells, index and header."""
    parts: list[Any] = [table.index, table.columns, *(column for _, column in _text_columns(table))]
    return {value for part in parts for value in part.unique() if isinstance(value, str)}


def _text_columns(table: "pd.DataFrame") -> "list[tuple[Any, pd.Series[Any]]]":
    return list(table.select_dtypes(["object", "string", "category"]).items())


def _replace_text(table: "pd.DataFrame", changed: Mapping[str, str]) -> "pd.DataFrame":
    """Return a table with other texts in its cells, index and header."""
    if not changed:
        return table
    replaced = table.copy()
    for name, column in _text_columns(table):
        replaced[name] = column.map(lambda value: changed.get(value, value))
    return replaced.rename(index=changed, columns=changed)
