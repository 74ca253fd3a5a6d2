"""Tables as people read them: one page of sentences and grids, shown on a terminal or written as Markdown or LaTeX.

A grid holds finished text; what a figure is and how it is rounded is decided where the page is made.
"""

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import pandas as pd
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from robustkd.errors import UsageError

WIDTH = 110  # columns of a page in a file
GAP = 2  # columns between two of a grid's
NAMES = 30  # columns that the names at the left are given before they are folded
# What Markdown would take for its own, GitHub's formulas among it: before each of these a backslash makes it a letter again.
MARKDOWN = str.maketrans({letter: f"\\{letter}" for letter in "\\`*_[]<>|~$&#"} | {"\n": " "})
LATEX = str.maketrans(
    {
        **{letter: f"\\{letter}" for letter in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
        # In TeX's first encoding these keys have other letters.
        **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"},
        # After \\ a bracket or a star would be its option.
        **{'"': r"\textquotedbl{}", "[": "{[}", "]": "{]}", "*": "{*}"},
        **{"`": r"\textasciigrave{}", "\n": " "},
        **{"±": r"$\pm$", "↓": r"$\downarrow$", "⇓": r"$\Downarrow$", "⇑": r"$\Uparrow$"},
    }
)


class Grid(NamedTuple):
    """A table of text: its first column holds names, the others are figures."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    best: frozenset[tuple[int, int]] = frozenset()  # row and column of the cells in bold
    words: frozenset[int] = frozenset()  # columns beyond the first that hold words


Page: TypeAlias = Sequence[str | Grid]  # an empty sentence is a gap


def show(page: Page, console: Console) -> None:
    """A page on a terminal; a grid that is too wide for it goes in pieces, one below the other."""
    for part in page:
        if isinstance(part, str):
            console.print(part, markup=False, highlight=False)
        else:
            for piece in pieces(part, console.width):
                console.print()
                console.print(Text(piece.title, style="bold"))
                console.print(_rich(piece, console.width))


def text(page: Page) -> str:
    """A page as plain text, 110 columns wide."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), color_system=None)
    show(page, console)
    return "\n".join(line.rstrip() for line in console.export_text().splitlines()) + "\n"


def pieces(grid: Grid, width: int) -> list[Grid]:
    """A grid cut into as many as fit the width, each with the names at the left.

    >>> wide = Grid("t", ["", "one", "two", "three"], [["a", "12345", "12345", "12345"]])
    >>> [piece.heads for piece in pieces(wide, 20)]
    [['', 'one', 'two'], ['', 'three']]
    """
    widths = [_least(grid, column) + GAP for column in range(len(grid.heads))]
    parts: list[list[int]] = [[]]
    for column in range(1, len(widths)):
        if parts[-1] and widths[0] + sum(widths[c] for c in [*parts[-1], column]) > width + GAP:
            parts.append([])
        parts[-1].append(column)
    cut = []
    for number, part in enumerate(parts):
        kept = [0, *part]
        place = {column: new for new, column in enumerate(kept)}
        cut.append(
            Grid(
                grid.title + (", continued" if number else ""),
                [grid.heads[c] for c in kept],
                [[row[c] for c in kept] for row in grid.rows],
                frozenset((row, place[c]) for row, c in grid.best if c in place),
                frozenset(place[c] for c in grid.words if c in place),
            )
        )
    return cut


def _least(grid: Grid, column: int) -> int:
    """How narrow a column may become: heads break between words, figures do not."""
    cells = max((cell_len(row[column]) + 2 * ((n, column) in grid.best) for n, row in enumerate(grid.rows)), default=1)
    return max(min(cells, NAMES) if column == 0 else cells, *(cell_len(word) for word in grid.heads[column].split()), 1)


def _widths(grid: Grid, width: int) -> list[int]:
    """How wide each column is: as little as it may be, and then, from the left, as much as it would like to be."""
    widths = [_least(grid, column) for column in range(len(grid.heads))]
    spare = width - sum(widths) - GAP * (len(widths) - 1)
    for column, head in enumerate(grid.heads):
        wanted = max([cell_len(head), *(cell_len(row[0]) for row in grid.rows if column == 0)])
        more = min(max(0, wanted - widths[column]), max(0, spare))
        widths[column] += more
        spare -= more
    return widths


def _rich(grid: Grid, width: int) -> Table:
    """A grid for a terminal; what is best is bold and starred, for logs know no bold."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0))
    for column, (head, least) in enumerate(zip(grid.heads, _widths(grid, width), strict=True)):
        justify: Literal["left", "right"] = "left" if column in {0, *grid.words} else "right"
        table.add_column(Text(head), justify=justify, width=least, overflow="fold")
    for number, row in enumerate(grid.rows):
        best = [(number, column) in grid.best for column in range(len(row))]
        table.add_row(
            *(Text(f"* {cell}", style="bold") if b else Text(cell) for cell, b in zip(row, best, strict=True))
        )
    return table


def markdown(page: Page) -> str:
    """A page for GitHub.

    >>> print(markdown([Grid("t", ["", "a|b"], [["x_y", "1"]], frozenset({(0, 1)}))]))
    **t**
    <BLANKLINE>
    |  | a\\|b |
    |:--|--:|
    | x\\_y | **1** |
    <BLANKLINE>
    """

    def written(part: str | Grid) -> str:
        if isinstance(part, str):
            return part.translate(MARKDOWN)
        rules = [":--" if column in {0, *part.words} else "--:" for column in range(len(part.heads))]
        rows = [
            [f"**{_md(cell)}**" if (n, c) in part.best else _md(cell) for c, cell in enumerate(row)]
            for n, row in enumerate(part.rows)
        ]
        lines = [f"| {' | '.join(row)} |" for row in ([_md(head) for head in part.heads], *rows)]
        return "\n".join([f"**{_md(part.title)}**", "", lines[0], f"|{'|'.join(rules)}|", *lines[1:]])

    return "\n\n".join(written(part) for part in page if part) + "\n"


def _md(cell: str) -> str:
    return cell.translate(MARKDOWN)


def latex(page: Page) -> str:
    """A page for a paper: each grid a longtable, which may break across pages, with booktabs' rules.

    Names in letters beyond Latin's take LuaLaTeX or XeLaTeX and a font that has them.
    """
    head = "% needs \\usepackage{booktabs,longtable,textcomp} and, but for LuaLaTeX, \\usepackage[T1]{fontenc}\n"
    return head + "\n\n".join(_tex(part) if isinstance(part, str) else _longtable(part) for part in page if part) + "\n"


def _longtable(grid: Grid) -> str:
    words = {0, *grid.words}

    def written(cell: str, column: int) -> str:  # a number's minus is no hyphen
        return _tex(cell) if column in words else re.sub(r"-(?=\d)", "$-$", _tex(cell))

    rows = [
        [rf"\textbf{{{written(cell, c)}}}" if (n, c) in grid.best else written(cell, c) for c, cell in enumerate(row)]
        for n, row in enumerate(grid.rows)
    ]
    frame = pd.DataFrame(rows, columns=pd.Index([_tex(head) for head in grid.heads]))
    columns = "".join("l" if column in words else "r" for column in range(len(grid.heads)))
    drawn = frame.style.hide(axis="index").to_latex(
        environment="longtable", hrules=True, column_format=columns, caption=_tex(grid.title)
    )
    return str(drawn).rstrip("\n")


def _tex(cell: str) -> str:
    return cell.translate(LATEX)


def csv(frames: Mapping[str, pd.DataFrame], folder: Path) -> list[Path]:
    """A file NAME.csv for each frame, with full precision; a frame's own index is its first column where it has a name."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, frame in frames.items():
        paths.append(folder / f"{name}.csv")
        frame.to_csv(paths[-1], index=frame.index.name is not None)
    return paths


def free(option: str, *paths: Path) -> None:
    """Refuse to write over what is there."""
    for path in paths:
        if path.exists():
            raise UsageError(f"{option} {path}: it is there already, and nothing is written over; name another")
        if not path.parent.is_dir() and not option.endswith("csv"):
            raise UsageError(f"{option} {path}: there is no folder {path.parent}")
