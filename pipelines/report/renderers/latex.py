"""Pages in LaTeX, for a paper."""

import re

import pandas as pd

from pipelines.report.table import Cell, Page, Table

PREAMBLE = "% needs \\usepackage{booktabs,longtable,textcomp} and, except with LuaLaTeX, \\usepackage[T1]{fontenc}\n"
LATEX_CHARACTERS = str.maketrans(
    {
        **{letter: f"\\{letter}" for letter in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
        # TeX's original encoding has other characters at these positions.
        **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"},
        # After \\ a bracket or a star would be read as its option.
        **{'"': r"\textquotedbl{}", "[": "{[}", "]": "{]}", "*": "{*}"},
        **{"`": r"\textasciigrave{}", "\n": " "},
        **{"±": r"$\pm$", "↓": r"$\downarrow$", "⇓": r"$\Downarrow$", "⇑": r"$\Uparrow$"},
    }
)


def escape_latex(text: str) -> str:
    """Return text that LaTeX shows as it is."""
    return text.translate(LATEX_CHARACTERS)


def render_latex(page: Page) -> str:
    """Render a page: each table is a longtable, which may break across pages, with booktabs' rules.

    Names in letters beyond Latin's require LuaLaTeX or XeLaTeX and a font that has them.
    """
    parts = [escape_latex(part) if isinstance(part, str) else _longtable(part) for part in page if part]
    return PREAMBLE + "\n\n".join(parts) + "\n"


def _longtable(table: Table) -> str:
    is_text = [place == 0 or column.is_text for place, column in enumerate(table.columns)]
    rows = [[_latex_cell(cell, text) for cell, text in zip(row.cells, is_text, strict=True)] for row in table.rows]
    frame = pd.DataFrame(rows, columns=pd.Index([escape_latex(column.title) for column in table.columns]))
    environment = frame.style.hide(axis="index").to_latex(
        environment="longtable",
        hrules=True,
        column_format="".join("l" if text else "r" for text in is_text),
        caption=escape_latex(table.title),
    )
    note = f"\n\n{escape_latex(table.note)}" if table.note else ""
    return str(environment).rstrip("\n") + note


def _latex_cell(cell: Cell, is_text: bool) -> str:
    """Return a cell; in a number column a hyphen before a digit is a minus sign."""
    text = escape_latex(cell.full_text)
    if not is_text:
        text = re.sub(r"-(?=\d)", "$-$", text)
    return rf"\textbf{{{text}}}" if cell.best else text
