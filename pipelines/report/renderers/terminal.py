"""Pages on a terminal and as plain text."""

import io
from dataclasses import replace
from typing import Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from pipelines.report.table import Page, Table

PAGE_WIDTH = 110  # columns of a page in a file
GAP = 2  # columns between two of a table
MAX_NAME_WIDTH = 30  # columns for the names in the first column, which are folded beyond


def print_page(page: Page, console: Console) -> None:
    """Print a page; a table that is too wide is printed in parts, one below the other."""
    for part in page:
        if isinstance(part, str):
            console.print(part, markup=False, highlight=False)
            continue
        for piece in split_table(part, console.width):
            console.print()
            console.print(Text(piece.title, style="bold"))
            console.print(_rich_table(piece, console.width))
        if part.note:
            console.print(part.note, markup=False, highlight=False)


def render_text(page: Page) -> str:
    """Render a page as plain text, 110 columns wide."""
    console = Console(record=True, width=PAGE_WIDTH, file=io.StringIO(), color_system=None)
    print_page(page, console)
    return "\n".join(line.rstrip() for line in console.export_text().splitlines()) + "\n"


def split_table(table: Table, width: int) -> list[Table]:
    """Split a table by columns into parts that fit the width, each with the first column.

    >>> from pipelines.report.table import Cell, Column, Row
    >>> columns = [Column(title, title) for title in ("", "one", "two", "three")]
    >>> wide = Table("t", columns, [Row([Cell("a"), *[Cell("12345")] * 3])])
    >>> [[column.title for column in part.columns] for part in split_table(wide, 20)]
    [['', 'one', 'two'], ['', 'three']]
    """
    widths = [_min_width(table, place) + GAP for place in range(len(table.columns))]
    parts: list[list[int]] = [[]]
    for place in range(1, len(widths)):
        if parts[-1] and widths[0] + sum(widths[p] for p in [*parts[-1], place]) > width + GAP:
            parts.append([])
        parts[-1].append(place)
    selected = [table.select(table.columns[place].key for place in [0, *part]) for part in parts]
    return [replace(part, title=part.title + (", continued" if number else "")) for number, part in enumerate(selected)]


def _min_width(table: Table, place: int) -> int:
    """Return how narrow a column may be: headings break between words, values do not."""
    cells = max((cell_len(cell.full_text) + 2 * cell.best for cell in table.column_cells(place)), default=1)
    words = (cell_len(word) for word in table.columns[place].title.split())
    return max(min(cells, MAX_NAME_WIDTH) if place == 0 else cells, *words, 1)


def _column_widths(table: Table, width: int) -> list[int]:
    """Return the width of each column: the smallest possible, then from the left as much of the rest as it can use."""
    widths = [_min_width(table, place) for place in range(len(table.columns))]
    spare = width - sum(widths) - GAP * (len(widths) - 1)
    for place, column in enumerate(table.columns):
        names = [cell_len(cell.full_text) for cell in table.column_cells(place)] if place == 0 else []
        more = min(max(0, max([cell_len(column.title), *names]) - widths[place]), max(0, spare))
        widths[place] += more
        spare -= more
    return widths


def _rich_table(table: Table, width: int) -> RichTable:
    """Return a table for a terminal; the best values are bold and starred, as a log file has no bold letters."""
    drawn = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0))
    for place, (column, least) in enumerate(zip(table.columns, _column_widths(table, width), strict=True)):
        justify: Literal["left", "right"] = "left" if place == 0 or column.is_text else "right"
        drawn.add_column(Text(column.title), justify=justify, width=least, overflow="fold")
    for row in table.rows:
        drawn.add_row(
            *(Text(f"* {cell.full_text}", style="bold") if cell.best else Text(cell.full_text) for cell in row.cells)
        )
    return drawn
