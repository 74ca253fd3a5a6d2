"""The parts of an HTML report: sections with pictures, tables, images and notes. How they look is in templates/."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.figure import Figure

from pipelines.report.charts.output import render_svg
from pipelines.report.charts.style import CSS_VARIABLES, INK, panel_line_styles
from pipelines.report.table import Table
from pipelines.report.thumbnails import Thumbnail

CSS_DASHES = {"-": "none", "--": "7 3", "-.": "8 2 2 2", ":": "2 2"}
CUSTOM_CSS_DASH = "6 2 2 2 2 2"


@dataclass(frozen=True)
class Picture:
    """A figure in a report.

    Attributes:
        name: of its PNG file; unique in the report.
        alt: a description for readers who cannot see it.
    """

    name: str
    title: str
    figure: Figure
    alt: str
    caption: str = ""

    @property
    def width(self) -> int:
        """The natural width in CSS pixels."""
        return round(96 * float(self.figure.get_size_inches()[0]))

    @property
    def is_wide(self) -> bool:
        """Whether it is wider than a phone."""
        return self.width > 480

    @property
    def svg(self) -> Markup:
        """The SVG element."""
        return Markup(render_svg(self.figure, self.name, self.alt))


@dataclass(frozen=True)
class LegendItem:
    """A line's name and a piece of the line."""

    name: str
    sample: Markup


@dataclass(frozen=True)
class LabelledImage:
    """A training image with labels and predictions.

    Attributes:
        labels: name, class, and whether the class is the true one.
    """

    thumbnail: Thumbnail
    alt: str
    labels: Sequence[tuple[str, str, bool]]


@dataclass(frozen=True)
class Section:
    """A section of a report.

    Attributes:
        id: its anchor.
        lead: a paragraph below the title.
        collapsed: tables that are shown on request.
        facts: names and values.
        side_by_side: notes are next to the pictures rather than below the tables.
    """

    id: str
    title: str
    lead: str = ""
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    collapsed: Sequence[Table] = ()
    notes: Sequence[str] = ()
    legend: Sequence[LegendItem] = ()
    images: Sequence[LabelledImage] = ()
    facts: Sequence[tuple[str, str]] = ()
    side_by_side: bool = False


def build_legend(methods: Sequence[str]) -> list[LegendItem]:
    """Return the legend of the lines of some methods, the first in ink."""
    items = []
    for name, (colour, dash) in zip(methods, panel_line_styles(len(methods)), strict=True):
        stroke = "currentColor" if colour == INK else f"var({CSS_VARIABLES[colour]})"
        dashes = CSS_DASHES[dash] if isinstance(dash, str) else CUSTOM_CSS_DASH
        sample = Markup(
            f'<svg width="28" height="8" aria-hidden="true"><path d="M0 4H28" style="stroke: {stroke}; stroke-width: 2; '
            f'stroke-dasharray: {dashes}"/></svg>'
        )
        items.append(LegendItem(name, sample))
    return items
