"""A page: its parts, its numbers as text, and how it is filled and written. What it says is not known here."""

import base64
import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from matplotlib.figure import Figure

from pipelines.report import charts, formatting

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Picture:
    """A picture and what is said of it. Its name is its file's, and unlike any other of the page."""

    name: str
    title: str
    figure: Figure
    alt: str
    caption: str = ""

    @property
    def width(self) -> int:
        """CSS pixels of its natural size."""
        return round(96 * float(self.figure.get_size_inches()[0]))

    @property
    def wide(self) -> bool:
        """Whether a phone must scroll it."""
        return self.width > 480

    @property
    def svg(self) -> Markup:
        """The picture as a part of the page."""
        return Markup(charts.inline(self.figure, self.name, self.alt))


@dataclass(frozen=True)
class Cell:
    """A table's cell: what it says, what it is sorted by where that is another thing, and its look."""

    text: str
    value: float | str | None = None  # '' for what comes last
    after: str = ""
    look: str = ""


@dataclass(frozen=True)
class Head:
    """A column's head: numbers unless it is text, and in which order the table stands by it."""

    name: str
    text: bool = False
    order: str = ""
    told: str = ""


@dataclass(frozen=True)
class Row:
    """A row, its head first; beside the others where it is no method that was compared."""

    cells: Sequence[Cell]
    aside: bool = False


@dataclass(frozen=True)
class Table:
    """A table that can be sorted."""

    title: str
    heads: Sequence[Head]
    rows: Sequence[Row]
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    id: str
    title: str
    lead: str = ""
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    hidden: Sequence[Table] = ()  # behind their titles
    notes: Sequence[str] = ()
    legend: Sequence[Mapping[str, Any]] = ()
    thumbs: Sequence[Mapping[str, Any]] = ()
    described: Sequence[tuple[str, str]] = ()
    beside: bool = False  # notes beside the picture


def published(template: str, told: Mapping[str, Any], pictures: Sequence[Picture], out: Path) -> Path:
    """Fill a page, write it, and the pictures beside it."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    script = (TEMPLATES / "sort.js").read_text(encoding="utf-8")
    # The page itself forbids any other script, and whatever would have to be fetched.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = made.get_template(template).render(
        **told,
        style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_digest=f"sha256-{digest}",
    )
    out.mkdir(parents=True, exist_ok=True)
    path = out / "report.html"
    path.write_text(page, encoding="utf-8")
    for old in out.glob("classes-*.png"):  # of methods that mattered before
        old.unlink()
    for picture in pictures:
        charts.write(charts.titled(picture.figure, picture.title), out / f"{picture.name}.png")
    return path


def value(x: float, share: bool = True) -> str:
    """A share in per cent, another number as it is; what was not measured is a dash.

    >>> value(0.9342), value(0.31416, False), value(float("nan"))
    ('93.4', '0.314', '–')
    """
    if x is None or x != x:
        return "–"
    return f"{100 * x:.1f}" if share else f"{x:.3f}"


def points(x: float) -> str:
    """A difference of shares in points, with its sign.

    >>> points(0.0312), points(-0.2), points(-0.0001), points(float("nan"))
    ('+3.1', '−20.0', '0.0', '–')
    """
    if x is None or x != x:
        return "–"
    return typeset(formatting.points(x, signed=True))


def typeset(text: str) -> str:
    """A sentence with the signs of this page's numbers: a true minus, and none before nothing.

    >>> typeset("from -3.1 to (-0.5 points), +0.0 of cifar-10")
    'from −3.1 to (−0.5 points), 0.0 of cifar-10'
    """
    return re.sub(r"(?<![^\s(\[])-(?=\d)", "−", re.sub(r"(?<![^\s(\[])[+-](?=0\.0(?!\d))", "", text))


def interval(low: float, high: float) -> str:
    """Two ends in points.

    >>> interval(-0.01, 0.025)
    '−1.0 to +2.5'
    """
    return f"{points(low)} to {points(high)}" if low == low and high == high else "–"


def chance(p: float) -> str:
    """A p-value.

    >>> chance(0.0321), chance(0.00004), chance(float("nan"))
    ('0.032', '< 0.001', '–')
    """
    return "–" if p != p else formatting.chance(p)


def show(x: float, form: str, scale: float) -> str:
    """A number in its form, or a dash."""
    return form.format(scale * x).replace(",", "\u2009") if x == x else "–"


def number(text: str, x: Any, after: str = "", look: str = "") -> Cell:
    """A cell that is sorted as a number; what was not measured comes last."""
    return Cell(text, "" if x is None or x != x else f"{float(x):.8g}", after, look)


def counted(n: int, thing: str) -> str:
    """So many of a thing.

    >>> counted(1, "seed"), counted(5, "seed")
    ('1 seed', '5 seeds')
    """
    return f"{n} {thing}{'' if n == 1 else 's'}"


def sentence(text: str) -> str:
    """With a capital, and a stop."""
    return f"{text[0].upper()}{text[1:]}." if text else ""


def some(items: Sequence[str], most: int) -> str:
    """Some of a list, and how many more there are."""
    return "; ".join(items[:most]) + (f"; and {len(items) - most} more" if len(items) > most else "")


def ends(items: Sequence[str], each: int) -> str:
    """Both ends of a list."""
    return "; ".join(items) if len(items) <= 2 * each else "; ".join([*items[:each], "…", *items[-each:]])


def stamp(seconds: float) -> str:
    """A time, in UTC.

    >>> stamp(0)
    '1970-01-01 00:00 UTC'
    """
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
