"""Pages in Markdown."""

import re

from pipelines.report.renderers.markdown import render_markdown
from tests.pipelines.report.tables import make_table


def test_names_are_escaped_in_markdown() -> None:
    table = make_table("t", ["", "x"], [["a|b", "1"], ["<script>$x$_y_ & `c`", "2"]], best=(1, 1))
    head, rule, first, second = render_markdown([table]).strip().splitlines()[2:]
    unescaped = [re.split(r"(?<!\\)\|", row)[1:-1] for row in (head, rule, first, second)]
    assert {len(row) for row in unescaped} == {2}, "a name does not open a column"
    assert unescaped[3] == [r" \<script\>\$x\$\_y\_ \& \`c\` ", " **2** "]
