"""HTML and Markdown documents filled from templates."""

import base64
import hashlib
import re
from typing import Any

import jinja2
import pytest

from pipelines.report.renderers.html import TEMPLATES, fill_report, fill_template
from pipelines.report.table import Cell, Column, Row, Table, number_cell

# Values of the template of a report across studies, all of them empty.
EMPTY_REPORT: dict[str, Any] = {
    **dict.fromkeys(("kicker", "question", "answer", "title"), ""),
    **{name: [] for name in ("caveats", "studies", "notes", "overview", "legend", "curves", "sections", "tables")},
}


def test_html_has_minus_signs_in_columns_of_numbers_only() -> None:
    columns = [Column("a", "", "text"), Column("b", "x"), Column("c", "w", "text"), Column("d", "y")]
    cells = [
        Cell("-1"),
        number_cell("-1.0", -0.01, "± 0.5", best=True),
        Cell("-2", tone="worse"),
        number_cell("-", None),
    ]
    section = {"sections": [], "tables": [Table("T <b>", columns, [Row(cells, muted=True)])]}
    assets = dict.fromkeys(("style", "script", "script_digest"), "")
    text = fill_template("sweep.html.j2", {**EMPTY_REPORT, **assets, **section})
    assert (
        '<tr class="muted"><th scope="row">-1</th><td class="best" data-value="-0.01">−1.0<small> ± 0.5</small></td>'
        '<td class="text worse">-2</td><td data-value="">–</td></tr>'
    ) in text
    assert "T &lt;b&gt;" in text


def test_a_missing_value_of_a_template_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="title"):
        fill_template("contact_sheet.html.j2", {"paragraphs": [], "groups": []})


def test_a_report_allows_its_own_script_by_its_digest() -> None:
    text = fill_report("sweep.html.j2", EMPTY_REPORT)
    (script,) = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text
    assert (TEMPLATES / "sort.js").read_text() == script
    assert (TEMPLATES / "style.css").read_text() in text, "the style sheet is not escaped"
