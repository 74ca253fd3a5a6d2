"""What the renderers of every format have in common."""

from dataclasses import replace

from pipelines.report.renderers.latex import render_latex
from pipelines.report.renderers.markdown import render_markdown
from pipelines.report.renderers.terminal import render_text
from tests.pipelines.report.tables import make_table


def test_the_note_of_a_table_follows_it_in_every_format() -> None:
    table = replace(make_table("t", ["", "x"], [["a", "1"]]), note="a_note")
    for render, note in ((render_text, "a_note"), (render_markdown, r"a\_note"), (render_latex, r"a\_note")):
        text = render([table, "the end"])
        assert text.index("1") < text.index(note) < text.index("the end")
