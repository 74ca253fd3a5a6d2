"""Pages in Markdown, as GitHub renders it."""

from pipelines.report.table import Cell, Page, Table

# Characters with a meaning in Markdown, GitHub's formulas included: a backslash makes each a plain character again.
SPECIAL_CHARACTERS = str.maketrans({letter: f"\\{letter}" for letter in "\\`*_[]{}<>|~^$&#"})


def escape_markdown(value: object) -> str:
    """Return text that Markdown shows as it is, on one line.

    >>> print(escape_markdown("a|b <i> 5 %"))
    a\\|b \\<i\\> 5 %
    """
    return " ".join(str(value).split()).translate(SPECIAL_CHARACTERS)


def render_markdown(page: Page) -> str:
    """Render a page.

    >>> from pipelines.report.table import Cell, Column, Row
    >>> table = Table("t", [Column("a", "", "text"), Column("b", "a|b")], [Row([Cell("x_y"), Cell("1", best=True)])])
    >>> print(render_markdown([table]))
    **t**
    <BLANKLINE>
    |  | a\\|b |
    |:--|--:|
    | x\\_y | **1** |
    <BLANKLINE>
    """
    parts = [escape_markdown(part) if isinstance(part, str) else _markdown_table(part) for part in page if part]
    return "\n\n".join(parts) + "\n"


def _markdown_table(table: Table) -> str:
    heading = [escape_markdown(column.title) for column in table.columns]
    rules = [":--" if place == 0 or column.is_text else "--:" for place, column in enumerate(table.columns)]
    lines = [f"| {' | '.join(row)} |" for row in (heading, *([_markdown_cell(c) for c in r.cells] for r in table.rows))]
    grid = "\n".join([lines[0], f"|{'|'.join(rules)}|", *lines[1:]])
    return "\n\n".join(
        [f"**{escape_markdown(table.title)}**", grid, *([escape_markdown(table.note)] * bool(table.note))]
    )


def _markdown_cell(cell: Cell) -> str:
    text = escape_markdown(cell.full_text)
    return f"**{text}**" if cell.best else text
