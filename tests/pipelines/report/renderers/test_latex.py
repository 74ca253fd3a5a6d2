"""Pages in LaTeX."""

import re

from pipelines.report.renderers.latex import render_latex
from tests.pipelines.report.tables import make_table


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
