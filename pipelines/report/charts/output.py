"""Figures as PNG files and as SVG elements of an HTML document."""

import io
import re
import warnings
from html import escape
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from pipelines.report.charts.style import CSS_VARIABLES, FIGURE_STYLE, FONTS, INK


def save_figure(figure: Figure, path: Path) -> None:
    """Save a figure; letters that no installed font has are drawn as boxes, without a warning."""
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    with rc_context({"font.family": [name for name in FONTS if name in installed]}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(path)


def add_title(figure: Figure, title: str, inches: float = 0.32) -> Figure:
    """Add a title above a figure with one pair of axes, which becomes higher by some inches."""
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + inches)
    (axes,) = figure.axes
    left, bottom, across, up = axes.get_position().bounds
    axes.set_position((left, bottom * height / (height + inches), across, up * height / (height + inches)))
    size = min(10.0, 72 * (width - 0.2) / (0.6 * max(1, len(title))))
    figure.text(0.1 / width, 1 - 0.08 / (height + inches), title, va="top", size=size, weight="bold")
    return figure


@rc_context({**FIGURE_STYLE, "figure.constrained_layout.use": False})  # saving must not change the layout
def render_svg(figure: Figure, name: str, alt: str) -> str:
    """Render a figure as an SVG element: no background, the document's colours, ids that begin with its name.

    Args:
        name: letters, digits and hyphens; unique in the document.
        alt: description for readers who cannot see the figure.
    """
    buffer = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    body = text[text.index("</style>") + len("</style>") : text.rindex("</svg>")].removeprefix("\n </defs>")
    references = {*re.findall(r'<[^>]*(?:url\(|href=")#([\w-]+)', body)}
    body = re.sub(r"<[^>]*>", lambda match: _adapt_tag(match[0], name, references), body)
    body = re.sub(r">\s+<", "><", body)
    width, height = (72 * side for side in figure.get_size_inches())
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width / 0.75:.0f}"'
    return f'<svg {size} role="img" aria-label="{escape(alt)}">{body}</svg>'


def _adapt_tag(tag: str, name: str, references: set[str]) -> str:
    """Adapt a tag to the document; text between tags, such as the names of classes, is not changed."""
    tag = tag.replace("xlink:href", "href")
    tag = re.sub(r' id="([^"]*)"', lambda match: f' id="{name}-{match[1]}"' if match[1] in references else "", tag)
    tag = re.sub(r'(url\(|href=")#', rf"\1#{name}-", tag)
    tag = re.sub(r"font-family: [^;\"]*;? ?| transform=\"rotate\(-0 [^\"]*\"", "", tag)
    tag = re.sub(r' d="[^"]*', lambda match: re.sub(r"(\.\d\d)\d+", r"\1", match[0].replace("\n", "")), tag)
    for colour, variable in {**CSS_VARIABLES, INK: ""}.items():
        tag = re.sub(colour, f"var({variable})" if variable else "currentColor", tag, flags=re.IGNORECASE)
    return tag
