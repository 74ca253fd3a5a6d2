"""Tables as documents show them: built once from a comparison, rendered for a terminal, in Markdown, LaTeX and HTML.

A cell has finished text in plain characters, with a hyphen for a minus sign and for a missing value. In columns of numbers,
renderers replace these by the characters of their format.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

Tone = Literal["", "better", "worse", "below"]


@dataclass(frozen=True)
class Cell:
    """A table's cell.

    Attributes:
        text: the value.
        spread: follows the text, as in "± 1.2".
        sort_value: a number as text; empty for a missing value, which is sorted last; None to sort by the text.
        best: whether it is the best of its column: bold, on a terminal also starred.
        tone: its colour in HTML.
    """

    text: str
    spread: str = ""
    sort_value: str | None = None
    best: bool = False
    tone: Tone = ""

    @property
    def full_text(self) -> str:
        """The text with its spread."""
        return f"{self.text} {self.spread}" if self.spread else self.text


def number_cell(text: str, value: Any, spread: str = "", best: bool = False, tone: Tone = "") -> Cell:
    """Return a cell that is sorted by a number, last where that is missing."""
    missing = value is None or value != value
    return Cell(text, spread, "" if missing else f"{float(value):.8g}", best, tone)


@dataclass(frozen=True)
class Column:
    """A table's column.

    Attributes:
        key: unique in the table.
        title: the heading.
        kind: numbers are aligned to the right.
        order: the order of the rows by this column, if they are in any.
        hint: a longer heading, shown in HTML on hover.
    """

    key: str
    title: str
    kind: Literal["number", "text"] = "number"
    order: Literal["", "ascending", "descending"] = ""
    hint: str = ""

    @property
    def is_text(self) -> bool:
        """Whether the column holds words rather than numbers."""
        return self.kind == "text"


METHOD_COLUMN = Column("method", "method", "text")


@dataclass(frozen=True)
class Row:
    """A table's row, its name in the first cell.

    Attributes:
        muted: whether it is not one of the compared methods, such as the teacher.
    """

    cells: Sequence[Cell]
    muted: bool = False


@dataclass(frozen=True)
class Table:
    """A table with its title and a note on how to read it."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    note: str = ""

    def select(self, keys: Iterable[str]) -> "Table":
        """Return the table with these columns in this order; keys that it does not have are ignored."""
        places = {column.key: place for place, column in enumerate(self.columns)}
        kept = [places[key] for key in keys if key in places]
        rows = [replace(row, cells=[row.cells[place] for place in kept]) for row in self.rows]
        return replace(self, columns=[self.columns[place] for place in kept], rows=rows)

    def without(self, *keys: str) -> "Table":
        """Return the table without some columns."""
        return self.select(column.key for column in self.columns if column.key not in keys)

    def unmarked(self) -> "Table":
        """Return the table without its marks of the best values."""
        rows = [replace(row, cells=[replace(cell, best=False) for cell in row.cells]) for row in self.rows]
        return replace(self, rows=rows)

    def column_cells(self, place: int) -> list[Cell]:
        """Return the cells of a column."""
        return [row.cells[place] for row in self.rows]


Page: TypeAlias = Sequence[str | Table]  # a document of paragraphs and tables; an empty paragraph is a gap
