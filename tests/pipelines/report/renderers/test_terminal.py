"""Pages on a terminal and as plain text."""

import io

from rich.console import Console

from pipelines.report.renderers.terminal import PAGE_WIDTH, print_page, render_text
from tests.pipelines.report.tables import make_table


def test_names_are_not_markup_on_a_terminal() -> None:
    console = Console(record=True, width=80, file=io.StringIO())
    print_page(["[red]a", make_table("[b]t", ["[i]h", "x"], [["[red]class[/red]", "[-1.0, +2.0]"]])], console)
    text = console.export_text()
    for word in ("[red]a", "[b]t", "[i]h", "[red]class[/red]", "[-1.0, +2.0]"):
        assert word in text


def test_a_table_that_is_too_wide_is_split_by_columns() -> None:
    titles = ["", *(f"a long heading {n}" for n in range(30))]
    table = make_table("wide", titles, [["row", *(f"{n:015}" for n in range(30))]], best=(0, 30))
    text = render_text([table])
    assert max(map(len, text.splitlines())) <= PAGE_WIDTH
    assert text.count("wide, continued") == text.count("wide") - 1 > 1
    assert "* 000000000000029" in text
