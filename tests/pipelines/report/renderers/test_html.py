"""HTML and Markdown documents filled from templates."""

from pipelines.report.renderers.html import fill_template
from pipelines.report.table import Cell, Column, Row, Table, number_cell


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
