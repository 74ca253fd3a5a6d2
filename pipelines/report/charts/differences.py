"""Charts of differences from the baseline: by method with intervals, and by class."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipelines.report.charts.axes import MAX_NAMES, PANEL_WIDTH, name_rows, panel_axes
from pipelines.report.charts.short_names import label_margin, shorten, shorten_distinctly
from pipelines.report.charts.style import (
    BETTER_COLOUR,
    FIGURE_STYLE,
    INK,
    MUTED,
    PANEL_STYLE,
    WORSE_COLOUR,
)
from pipelines.report.formatting import typeset

MAX_POINTS = 100.0  # no difference of shares can be larger


@dataclass(frozen=True)
class ForestRow:
    """A method's difference and its interval, in points, and how it is drawn."""

    value: float
    low: float
    high: float
    verdict: str

    @property
    def has_verdict(self) -> bool:
        """Whether the method is better or worse."""
        return self.verdict in ("better", "worse")

    @property
    def colour(self) -> str:
        """The colour of the verdict."""
        return {"better": BETTER_COLOUR, "worse": WORSE_COLOUR}.get(self.verdict, MUTED)

    @property
    def marker(self) -> str:
        """The marker of the verdict."""
        return {"better": "D", "worse": "s"}.get(self.verdict, "o")


@rc_context(PANEL_STYLE)
def plot_forest(table: pd.DataFrame, stopped: float | None = None) -> Figure:
    """Plot differences from the reference with their intervals, in points, the largest at the top.

    Markers are filled where a verdict is given. A method that failed, or the interval of two seeds, must not make the others
    indistinguishable: a difference far out is written as a number, an interval that goes beyond the axis ends in an arrow.

    Args:
        table: a row per method: difference, low, high, verdict.
        stopped: the difference of the baseline, stopped early, if it was.
    """
    table = table[table["difference"].notna()].sort_values("difference", ascending=False)
    names = shorten_distinctly(table.index, 26)
    margin = label_margin(names, 8)
    figure, axes = panel_axes(4.0, 0.7 + 0.19 * max(3, len(table)), margin)
    value, low, high = (100 * table[name].to_numpy(dtype=float) for name in ("difference", "low", "high"))
    rows = [ForestRow(*row) for row in zip(value, low, high, table["verdict"], strict=True)]
    limit = _forest_limit(value, low, high)
    left, right = _forest_ends(rows, limit, stopped)
    for place, row in enumerate(rows):
        if abs(row.value) <= limit:
            _draw_interval(axes, place, row, left, right)
            fill = row.colour if row.has_verdict else "#ffffff"
            axes.plot(row.value, place, row.marker, color=row.colour, ms=4.5, mfc=fill, mew=1.1)
        else:
            _write_difference(axes, place, row, left, right)
    axes.axvline(0, color=INK, lw=0.9, zorder=0)
    if stopped is not None:
        axes.axvline(100 * stopped, color=MUTED, lw=0.9, ls=(0, (4, 2)), zorder=0)
    name_rows(axes, names, 8)
    padding = (right - left) * 8 / (72 * (3.88 - margin) - 16)  # 8 points: no marker is on the edge
    axes.set_xlim(left - padding, right + padding)
    axes.set_xlabel("points of balanced accuracy")
    return figure


def _forest_limit(value: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]) -> float:
    """Return the size up to which a difference is drawn rather than written, in points."""
    widths = (high - low)[~np.isnan(high - low)] / 2
    typical_value, typical_width = (float(np.median(sizes)) if len(sizes) else 0.0 for sizes in (np.abs(value), widths))
    return min(MAX_POINTS, max(6 * typical_value, min(3 * typical_width, 20.0), 5.0))


def _forest_ends(rows: list[ForestRow], limit: float, stopped: float | None) -> tuple[float, float]:
    """Return both ends of the axis, which includes zero."""
    drawn = [end for row in rows if abs(row.value) <= limit for end in (row.value, row.low, row.high)]
    ends = np.array([*drawn, *([] if stopped is None else [100 * stopped])], dtype=float)
    inside = np.clip(ends[~np.isnan(ends)], -limit, limit)
    left, right = float(inside.min(initial=0)), float(inside.max(initial=0))
    return (left - 0.5, right + 0.5) if right - left < 1 else (left, right)


def _draw_interval(axes: Axes, place: int, row: ForestRow, left: float, right: float) -> None:
    """Draw an interval; an end beyond the axis is an arrow with the number above it, within the row."""
    axes.plot(
        np.clip([row.low, row.high], left, right), [place, place], color=row.colour, lw=1.4, solid_capstyle="butt"
    )
    for end, edge, alignment, arrow in ((row.low, left, "left", "<"), (row.high, right, "right", ">")):
        if end < left or end > right:
            axes.plot(edge, place, arrow, color=row.colour, ms=4)
            axes.annotate(
                _write_number(end),
                (edge, place),
                (0, 3),
                textcoords="offset points",
                ha=alignment,
                fontsize=6.5,
                color=row.colour,
            )


def _write_difference(axes: Axes, place: int, row: ForestRow, left: float, right: float) -> None:
    """Write a difference that is too far out to be drawn at the end of its row."""
    text = _write_number(row.value)
    if row.low == row.low:
        text += f" ({_write_number(row.low)} to {_write_number(row.high)})"
    at, alignment, text = (left, "left", f"◂ {text}") if row.value < 0 else (right, "right", f"{text} ▸")
    axes.text(at, place, text, ha=alignment, va="center", color=row.colour, fontsize=7.5)


def _write_number(value: float) -> str:
    """Format a number of points without a plus sign."""
    return typeset(f"{value:.1f}")


def class_axis_limit(table: pd.DataFrame) -> float:
    """Return how far an axis of differences per class goes either way, in points.

    Few seeds give intervals of hundreds of points, among which bars would be invisible.
    """
    return float(min(MAX_POINTS, max(5.0, 300 * table["difference"].abs().max())))


@rc_context(PANEL_STYLE)
def plot_class_differences(table: pd.DataFrame) -> Figure:
    """Plot differences in recall per class with their intervals, in points, the largest at the top.

    An interval that goes beyond the axis ends in an arrow.

    Args:
        table: class, difference, low, high; a row per class.
    """
    table = table[table["difference"].notna()].sort_values("difference", ascending=False, kind="stable")
    k = len(table)
    size, pitch = (8, 0.19) if k <= 40 else (6.5, 0.125)
    names, rows = shorten_distinctly(table["class"], 22), np.arange(k)
    figure, axes = panel_axes(PANEL_WIDTH, 0.7 + pitch * max(3, k), label_margin(names, size))
    value, low, high = (100 * table[name].to_numpy(dtype=float) for name in ("difference", "low", "high"))
    axes.barh(rows, value, height=0.62, color=_bar_colours(value), alpha=0.75, lw=0)
    limit = class_axis_limit(table) if k else 5.0
    span = np.clip([low, high], -limit, limit)
    axes.hlines(rows, *span, color=INK, lw=0.9)
    for beyond, edge, arrow in ((low < -limit, -limit, "<"), (high > limit, limit, ">")):
        axes.plot(np.full(beyond.sum(), edge), rows[beyond], arrow, color=INK, ms=3.5, ls="none")
    axes.axvline(0, color=INK, lw=0.9)
    name_rows(axes, names, size)
    ends = np.concatenate([span.ravel(), value])
    left, right = min(np.nanmin(ends, initial=0), -0.5), max(np.nanmax(ends, initial=0), 0.5)
    padding = 0.05 * (right - left)
    axes.set_xlim(left - padding, right + padding)
    axes.set_xlabel("points of recall")
    return figure


def _bar_colours(values: NDArray[np.float64]) -> list[str]:
    return [BETTER_COLOUR if value >= 0 else WORSE_COLOUR for value in values]


@rc_context(FIGURE_STYLE)
def plot_class_difference_grid(table: pd.DataFrame, std: pd.DataFrame | None = None, title: str = "") -> Figure:
    """Plot differences in recall of several methods, in points: a row per class, a column per method.

    Of many classes, those are shown in which methods differ most.

    Args:
        table: by class; columns that end with ' recall' are no differences and shown only where there is nothing else.
        std: a standard deviation for each value, under the same names.
    """
    shown = [name for name in table if not str(name).endswith(" recall")] or list(table)
    if len(table) > MAX_NAMES:
        title = "\n".join(
            filter(None, [title, f"the {MAX_NAMES} of {len(table)} classes in which methods differ most"])
        )
        largest = table[shown].abs().max(axis=1).fillna(-1.0).sort_values(ascending=False, kind="stable")
        table = table[table.index.isin(largest.index[:MAX_NAMES])]
        std = None if std is None else std.loc[table.index]
    k = len(table)
    height = float(np.clip(1.2 + 0.2 * k, 2.5, 24))
    figure = Figure(figsize=(2.0 + 2.2 * len(shown), height))
    rows = np.arange(k)
    grid = figure.subplots(1, len(shown), sharex=True, sharey=True, squeeze=False)[0]
    for axes, name in zip(grid, shown, strict=True):
        values = 100 * table[name].to_numpy(dtype=float)
        error = 100 * std[name].to_numpy(dtype=float) if std is not None and name in std else None
        axes.barh(rows, values, xerr=error, color=_bar_colours(values), error_kw={"lw": 0.8, "ecolor": "#444444"})
        axes.axvline(0, color="#444444", lw=0.8)
        axes.set_title(shorten(name, 48).replace(" - ", "\n− "), fontsize=8)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("points of recall")
    axes.set_yticks(rows, shorten_distinctly(table.index), fontsize=8 if k <= 40 else 6)
    axes.set_ylim(k - 0.4, -0.6)  # the first class at the top
    if title:
        figure.suptitle(title)
    return figure
