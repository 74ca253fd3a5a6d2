"""Small tables for tests of renderers."""

from collections.abc import Sequence

from pipelines.report.table import Cell, Column, Row, Table


def make_table(
    title: str,
    titles: Sequence[str],
    rows: Sequence[Sequence[str]],
    best: tuple[int, int] | None = None,
    text_columns: Sequence[int] = (0,),
) -> Table:
    """Build a table; columns hold numbers unless they are listed."""
    columns = [
        Column(str(place), name, "text" if place in text_columns else "number") for place, name in enumerate(titles)
    ]
    cells = [
        [Cell(text, best=best == (number, place)) for place, text in enumerate(row)] for number, row in enumerate(rows)
    ]
    return Table(title, columns, [Row(row) for row in cells])
