"""Colours of charts and of the report."""

import re

from pipelines.report.charts.style import BETTER_COLOUR, CSS_VARIABLES, INK, WORSE_COLOUR, line_style, panel_line_styles
from pipelines.report.renderers.html import TEMPLATES


def luminance(colour: tuple[float, ...]) -> float:
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_text_has_enough_contrast_in_light_and_dark() -> None:
    style = (TEMPLATES / "style.css").read_text()
    blocks = re.findall(r":root \{([^}]*)\}", style)[:2]
    for block in blocks:
        shades = {
            name: tuple(int(code[n : n + 2], 16) / 255 for n in (0, 2, 4))
            for name, code in re.findall(r"--(\w+): #(\w{6})", block)
        }
        for name in ("ink", "muted", "better", "worse"):
            for ground in ("paper", "tint"):
                assert contrast(shades[name], shades[ground]) >= 4.5, (name, ground)
        for name in ("blue", "vermilion", "green", "pink", "sky", "amber"):
            assert contrast(shades[name], shades["paper"]) >= 3, name
        for code in (BETTER_COLOUR, WORSE_COLOUR):  # a cell of a matrix at its strongest, with ink on it
            full = tuple(int(code[n : n + 2], 16) / 255 for n in (1, 3, 5))
            cell = tuple(0.75 * c + 0.25 * p for c, p in zip(full, shades["paper"], strict=True))
            assert contrast(shades["ink"], cell) >= 4.5, code


def test_the_first_lines_differ_in_colour_or_dash() -> None:
    styles = [line_style(place) for place in range(29)]
    assert len(set(styles[:28])) == 28
    assert styles[28] == styles[0]
    assert len({colour for colour, _ in styles[:7]}) == 7, "colours first"


def test_the_first_line_of_a_panel_is_in_ink() -> None:
    styles = panel_line_styles(6)
    assert styles[0] == (INK, "-")
    assert len(set(styles)) == 6
    assert panel_line_styles(3) == styles[:3]
    assert panel_line_styles(0) == []


def test_every_colour_of_a_line_has_a_name_in_the_style_sheet() -> None:
    style = (TEMPLATES / "style.css").read_text()
    for colour, _ in panel_line_styles(6)[1:]:
        assert f"{CSS_VARIABLES[colour]}:" in style
