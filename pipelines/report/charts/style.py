"""Colours and matplotlib settings of all charts."""

from typing import Any

# Okabe and Ito's colours, distinguishable for colour-blind readers; yellow is too pale for a line.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
BETTER_COLOUR, WORSE_COLOUR = COLOURS[:2]
INK, MUTED, FAINT, RULE = "#1b1c1f", "#5c6068", "#b9bdc5", "#e3e4e8"  # of text and lines, from strong to weak
DASHES = ("-", "--", ":", "-.")
# The style sheet's names for these colours, which has other shades of them for dark backgrounds; ink is the text colour.
CSS_VARIABLES = {
    **dict(zip(COLOURS, ("--blue", "--vermilion", "--green", "--pink", "--sky", "--amber"), strict=False)),
    **{MUTED: "--muted", FAINT: "--faint", RULE: "--rule", "#ffffff": "--paper"},
}
FIGURE_STYLE: Any = {
    "figure.dpi": 120,
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "text.parse_math": False,  # a class may be called '$'
    "svg.fonttype": "none",  # text stays text: small, sharp, and in the document's font
    "svg.hashsalt": "robustkd",  # the same figure gives the same file
}
# Of a chart in the report, which sets its own margins.
PANEL_STYLE: Any = {**FIGURE_STYLE, "figure.constrained_layout.use": False, "font.size": 8.5, "axes.titlesize": 9}
PANEL_LINES = (  # colour and dash of a method's line in the report, after the first
    *((BETTER_COLOUR, "-"), (WORSE_COLOUR, "--"), (COLOURS[2], "-."), (COLOURS[3], ":")),
    (COLOURS[5], (0, (4, 1, 1, 1, 1, 1))),
)
FONTS = (  # for names in scripts that the first does not cover, where any of the others is installed
    *("DejaVu Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Microsoft YaHei", "PingFang SC", "Hiragino Sans"),
    *("Noto Sans Arabic", "Noto Sans Devanagari", "Noto Emoji", "Segoe UI Emoji"),
)


def line_style(place: int) -> tuple[str, str]:
    """Return colour and dash of a line, unlike those of the 27 lines before it."""
    return COLOURS[place % len(COLOURS)], DASHES[place // len(COLOURS) % len(DASHES)]


def panel_line_styles(count: int) -> list[tuple[str, Any]]:
    """Return colour and dash of each of some lines in the report, the first in ink."""
    return [(INK, "-"), *(PANEL_LINES[place % len(PANEL_LINES)] for place in range(count - 1))][:count]
