"""Renderers of pages: names are escaped in every format, and numbers have the minus sign of the format."""

import io
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
from rich.console import Console

from pipelines.report.renderers.html import fill_template
from pipelines.report.renderers.latex import render_latex
from pipelines.report.renderers.markdown import render_markdown
from pipelines.report.renderers.terminal import PAGE_WIDTH, print_page, render_text
from pipelines.report.table import Cell, Column, Row, Table, number_cell


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


def test_names_are_escaped_in_markdown() -> None:
    table = make_table("t", ["", "x"], [["a|b", "1"], ["<script>$x$_y_ & `c`", "2"]], best=(1, 1))
    head, rule, first, second = render_markdown([table]).strip().splitlines()[2:]
    unescaped = [re.split(r"(?<!\\)\|", row)[1:-1] for row in (head, rule, first, second)]
    assert {len(row) for row in unescaped} == {2}, "a name does not open a column"
    assert unescaped[3] == [r" \<script\>\$x\$\_y\_ \& \`c\` ", " **2** "]


def test_names_are_escaped_in_latex() -> None:
    # TeX's own characters, then those that its original encoding would print as others, then those that it lacks.
    assert render_latex([r"süß & 50 % a_b #1 {x} ~ ^ \ $"]).splitlines()[1] == (
        r"süß \& 50 \% a\_b \#1 \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{} \$"
    )
    assert render_latex(["<x> | 1 ± 2 ↓"]).splitlines()[1] == (
        r"\textless{}x\textgreater{} \textbar{} 1 $\pm$ 2 $\downarrow$"
    )
    text = render_latex([make_table("a & b", ["", "x & y"], [["süß & 50 %", "1"], ["[b]", "2"]], best=(0, 1))])
    assert r"süß \& 50 \% & \textbf{1} \\" in text
    assert r"{[}b{]} & 2 \\" in text, "after a line's end a bracket would be its option"
    assert r"{*}b & 1 \\" in render_latex([make_table("t", ["", "x"], [["a", "1"], ["*b", "1"]])]), "so would a star"
    numbers = render_latex(
        [make_table("t", ["", "x", "w"], [["a-1", "-1.0 [-2.5, +0.5]", "b-2"]], text_columns=(0, 2))]
    )
    assert r"a-1 & $-$1.0 {[}$-$2.5, +0.5{]} & b-2 \\" in numbers, "a minus sign, and hyphens in words"
    body = [
        line for line in text.splitlines() if line.endswith(r"\\") and "caption" not in line and "multi" not in line
    ]
    assert [len(re.findall(r"(?<!\\)&", line)) for line in body] == [1] * len(body)


def test_names_are_not_markup_on_a_terminal() -> None:
    console = Console(record=True, width=80, file=io.StringIO())
    print_page(["[red]a", make_table("[b]t", ["[i]h", "x"], [["[red]class[/red]", "[-1.0, +2.0]"]])], console)
    text = console.export_text()
    for word in ("[red]a", "[b]t", "[i]h", "[red]class[/red]", "[-1.0, +2.0]"):
        assert word in text


def test_html_has_minus_signs_in_columns_of_numbers_only() -> None:
    columns = [Column("a", "", "text"), Column("b", "x"), Column("c", "w", "text"), Column("d", "y")]
    cells = [
        Cell("-1"),
        number_cell("-1.0", -0.01, "± 0.5", best=True),
        Cell("-2", tone="worse"),
        number_cell("-", None),
    ]
    section = {"sections": [], "tables": [Table("T <b>", columns, [Row(cells, muted=True)])]}
    empty = dict.fromkeys(("kicker", "question", "answer", "title", "style", "script", "script_digest"), "")
    lists = {name: [] for name in ("caveats", "studies", "notes", "overview", "legend", "curves")}
    text = fill_template("sweep.html.j2", {**empty, **lists, **section})
    assert (
        '<tr class="muted"><th scope="row">-1</th><td class="best" data-value="-0.01">−1.0<small> ± 0.5</small></td>'
        '<td class="text worse">-2</td><td data-value="">–</td></tr>'
    ) in text
    assert "T &lt;b&gt;" in text


def test_the_note_of_a_table_follows_it_in_every_format() -> None:
    table = replace(make_table("t", ["", "x"], [["a", "1"]]), note="a_note")
    for render, note in ((render_text, "a_note"), (render_markdown, r"a\_note"), (render_latex, r"a\_note")):
        text = render([table, "the end"])
        assert text.index("1") < text.index(note) < text.index("the end")


def test_a_table_that_is_too_wide_is_split_by_columns() -> None:
    titles = ["", *(f"a long heading {n}" for n in range(30))]
    table = make_table("wide", titles, [["row", *(f"{n:015}" for n in range(30))]], best=(0, 30))
    text = render_text([table])
    assert max(map(len, text.splitlines())) <= PAGE_WIDTH
    assert text.count("wide, continued") == text.count("wide") - 1 > 1
    assert "* 000000000000029" in text


def test_columns_are_selected_by_their_keys() -> None:
    table = make_table("t", ["name", "x", "y"], [["a", "1", "2"]])
    selected = table.select(["2", "0", "unknown"])
    assert [column.title for column in selected.columns] == ["y", "name"]
    assert [cell.text for cell in selected.rows[0].cells] == ["2", "a"]
    assert table.without("1") == table.select(["0", "2"])


@pytest.mark.parametrize(("value", "text"), [(0.5, "0.5"), (None, ""), (float("nan"), "")])
def test_missing_values_are_sorted_last(value: float | None, text: str) -> None:
    assert number_cell("x", value).sort_value == text
