"""The contact sheet: suspicious images in one HTML file that requires no other, for a person to look through."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipelines.report.renderers.html import fill_template
from pipelines.report.thumbnails import Thumbnail, make_thumbnail
from robustkd.data.view import Source


@dataclass(frozen=True)
class Suspect:
    """An image under a label that is probably wrong."""

    source: Source
    row: int
    given: str
    suggested: str
    given_probability: float
    suggested_probability: float

    @property
    def thumbnail(self) -> Thumbnail:
        """The image."""
        return make_thumbnail(self.source, self.row)

    @property
    def position(self) -> str:
        """The row and file in the data set."""
        return f"row {self.row}" + (f", {self.source.files[self.row]}" if self.source.files else "")


def render_contact_sheet(title: str, paragraphs: Sequence[str], groups: Iterable[tuple[str, Sequence[Suspect]]]) -> str:
    """Render the contact sheet.

    Args:
        title: what was audited.
        paragraphs: shown above the images.
        groups: headings, and the suspects below each, the worst first.
    """
    return fill_template("contact_sheet.html.j2", {"title": title, "paragraphs": paragraphs, "groups": list(groups)})
