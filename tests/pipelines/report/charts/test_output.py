"""Figures as files and as SVG elements."""

import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from pipelines.report.charts.differences import plot_class_differences
from pipelines.report.charts.matrices import plot_confusion, plot_matrix
from pipelines.report.charts.output import add_title, render_svg, save_figure
from tests.pipelines.report.charts.figures import figure_texts

NAMES = ["süß, sauer", "$50$ % \\frac", 'an id="x" d="0.123456" url(#y) #0072b2']


def test_pyplot_is_not_imported():
    modules = "pipelines.report.study_report, pipelines.report.sweep_report, pipelines.report.charts.scenario_overview"
    code = f"import sys, {modules}; raise SystemExit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ["one", "two"])
def test_svg_has_unique_ids_css_colours_and_unchanged_names(name):
    figure = plot_class_differences(
        pd.DataFrame({"class": NAMES, "difference": [0.3, 0.2, -0.1], "low": 0.0, "high": 0.1})
    )
    svg = render_svg(figure, name, 'one "picture" <b>')
    assert svg.startswith('<svg viewBox="0 0 ')
    assert 'aria-label="one &quot;picture&quot; &lt;b&gt;"' in svg
    ids = re.findall(r'<[^>]* id="([^"]*)"', svg)
    assert ids
    assert len(ids) == len(set(ids))
    assert all(each.startswith(f"{name}-") for each in ids)
    assert set(re.findall(r'<[^>]*(?:url\(|href=")#([^")]+)', svg)) <= set(ids)
    assert "var(--blue)" in svg
    assert "var(--vermilion)" in svg
    assert "currentColor" in svg
    assert not re.findall(r"<[^>]*(?:#0072b2|#1b1c1f|font-family|xlink)", svg, flags=re.IGNORECASE)
    assert '>an id="x" d…y) #0072b2<' in svg
    assert render_svg(figure, name, 'one "picture" <b>') == svg


def test_a_title_does_not_shrink_the_axes(tmp_path):
    figure = plot_matrix(np.eye(3), NAMES, NAMES, ("class", "taken for"))
    before = figure.axes[0].get_window_extent().height
    save_figure(add_title(figure, "a title"), tmp_path / "a.png")
    assert figure.axes[0].get_window_extent().height == pytest.approx(before)
    assert "a title" in figure_texts(figure)


def test_letters_that_no_font_has_give_no_warning(tmp_path):
    save_figure(plot_confusion(np.eye(2), ["猫", "🐕"]), tmp_path / "c.png")  # warnings are errors in tests
    assert (tmp_path / "c.png").stat().st_size > 1000
