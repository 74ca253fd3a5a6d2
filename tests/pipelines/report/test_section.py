"""The parts of an HTML report."""

import re

import pytest
from matplotlib.figure import Figure

from pipelines.report.charts.style import PANEL_LINES
from pipelines.report.section import Picture, build_legend


@pytest.mark.parametrize(("inches", "pixels", "is_wide"), [(5.0, 480, False), (5.02, 482, True), (1.5, 144, False)])
def test_a_picture_wider_than_a_phone_is_wide(inches: float, pixels: int, is_wide: bool) -> None:
    picture = Picture("p", "title", Figure(figsize=(inches, 2)), "nothing")
    assert (picture.width, picture.is_wide) == (pixels, is_wide)


def test_a_picture_has_its_description() -> None:
    svg = str(Picture("p", "title", Figure(figsize=(1, 1)), 'a <b> & "c"').svg)
    assert svg.startswith("<svg")
    assert "a &lt;b&gt; &amp; " in svg
    assert "<b>" not in svg


def test_lines_of_a_legend_differ() -> None:
    names = ["baseline", *(f"m{n}" for n in range(len(PANEL_LINES)))]
    legend = build_legend(names)
    assert [item.name for item in legend] == names
    assert "stroke: currentColor" in legend[0].sample, "the first is in the colour of the text, light or dark"
    assert all("stroke: var(--" in item.sample for item in legend[1:])
    styles = [re.findall(r"stroke: ([^;]*);.*stroke-dasharray: ([^\"]*)\"", item.sample)[0] for item in legend]
    assert len(set(styles)) == len(styles)
    assert build_legend([]) == []
