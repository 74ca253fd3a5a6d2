"""The chart of recall by class size, and the placement of names near its points."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from pipelines.report.charts.axes import PANEL_LEFT, PANEL_WIDTH, panel_axes, set_log_ticks
from pipelines.report.charts.short_names import shorten_distinctly, text_width
from pipelines.report.charts.style import BETTER_COLOUR, FAINT, INK, PANEL_STYLE

MAX_NAMED = 20  # classes up to which each is named
LABEL_SIZE = 7.0
# Offsets of a name from its point, in points, in the order in which they are tried.
LABEL_OFFSETS = [
    *((0.0, 8.0), (0.0, -8.0)),
    *((r * side, r * up) for r in (14.0, 22.0, 32.0, 44.0) for up in (0.6, -0.6, 0.0) for side in (1, -1)),
]
Box = tuple[float, float, float, float]  # left, bottom, right, top


@rc_context(PANEL_STYLE)
def plot_class_sizes(counts: "pd.Series[float]", recalls: Mapping[str, "pd.Series[float]"]) -> Figure:
    """Plot the recall of each class by its number of training images: rings for the first method, discs for the second."""
    figure, axes = panel_axes(PANEL_WIDTH, 2.9, PANEL_LEFT)
    frame = pd.DataFrame({**{str(n): 100 * values for n, values in enumerate(recalls.values())}, "count": counts})
    if len(recalls) == 2:
        axes.vlines(frame["count"], frame["0"], frame["1"], color=FAINT, lw=0.9)
    for n, (colour, fill) in zip(range(len(recalls)), ((INK, "#ffffff"), (BETTER_COLOUR, BETTER_COLOUR)), strict=False):
        size = 4.5 if len(frame) <= MAX_NAMED else 3
        axes.plot(frame["count"], frame[str(n)], "o", color=colour, mfc=fill, ms=size, mew=1, zorder=3)
    axes.margins(x=0.08, y=0.12)
    _scale_counts(axes, frame["count"])
    axes.set_yticks(range(0, 101, 20))
    axes.set_ylim(-8, 112)  # room for names around the points at either end
    if len(frame) <= MAX_NAMED:
        methods = [str(n) for n in range(len(recalls))]
        values = frame[methods].to_numpy(dtype=float)
        _name_points(axes, list(map(str, frame.index)), frame["count"].to_numpy(dtype=float), values)
    axes.set(xlabel="training images shown as the class", ylabel="recall (%)")
    return figure


def _scale_counts(axes: Axes, counts: "pd.Series[float]") -> None:
    """Use a logarithmic axis where the sizes differ much."""
    if counts.max() > 5 * max(1, counts.min()):
        axes.set_xscale("log")
        set_log_ticks(axes, whole=True)
        return
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    left, right = axes.get_xlim()
    if right - left < 2:
        axes.set_xlim(counts.mean() - 1, counts.mean() + 1)


@dataclass(frozen=True)
class PointCanvas:
    """The area of some axes in points, for the placement of labels."""

    axes: Axes
    width: float
    height: float

    @classmethod
    def of(cls, axes: Axes) -> "PointCanvas":
        """Measure axes; their limits must not change afterwards."""
        window = axes.get_window_extent()
        pixels = axes.figure.dpi / 72  # of a point
        return cls(axes, window.width / pixels, window.height / pixels)

    def locate(self, x: float, y: float) -> tuple[float, float]:
        """Return the place of data coordinates, in points from the lower left corner."""
        window = self.axes.get_window_extent()
        place = (self.axes.transData.transform((x, y)) - (window.x0, window.y0)) / (self.axes.figure.dpi / 72)
        return float(place[0]), float(place[1])

    def has_room(self, box: Box, taken: Iterable[Box]) -> bool:
        """Whether a box is inside the area and overlaps with no other."""
        if box[0] < 0 or box[2] > self.width + 8 or box[1] < 0 or box[3] > self.height + 6:
            return False
        return not any(box[0] < t[2] and t[0] < box[2] and box[1] < t[3] and t[1] < box[3] for t in taken)


def _name_points(axes: Axes, names: Sequence[str], x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    """Write each point's name near it where it covers neither a point nor a name, with a line to it if it is not next to it.

    A name for which there is no room is left out.

    Args:
        x: of each class, (K,).
        y: of its points, of which the uppermost is named, (K, M).
    """
    canvas = PointCanvas.of(axes)
    points = [canvas.locate(across, up) for across, line in zip(x, y, strict=True) for up in line if up == up]
    taken: list[Box] = [(across - 3, up - 3, across + 3, up + 3) for across, up in points]
    for across, line, label in zip(x, y, shorten_distinctly(names, 14), strict=True):
        if np.isnan(line).all():
            continue
        point = (float(across), float(np.nanmax(line)))
        for offset in LABEL_OFFSETS:
            box = _label_box(canvas.locate(*point), offset, text_width(label, LABEL_SIZE))
            if canvas.has_room(box, taken):
                taken.append(box)
                _annotate_point(axes, label, point, offset)
                break


def _alignment(offset: tuple[float, float]) -> str:
    return "center" if not offset[0] else "left" if offset[0] > 0 else "right"


def _label_box(place: tuple[float, float], offset: tuple[float, float], width: float) -> Box:
    """Return the box that a label covers, in points."""
    indent = {"center": width / 2, "left": 0, "right": width}[_alignment(offset)]
    left, middle = place[0] + offset[0] - indent, place[1] + offset[1]
    return left, middle - LABEL_SIZE / 2, left + width, middle + LABEL_SIZE / 2


def _annotate_point(axes: Axes, label: str, point: tuple[float, float], offset: tuple[float, float]) -> None:
    leader = {"arrowstyle": "-", "color": FAINT, "lw": 0.5, "shrinkA": 0, "shrinkB": 2} if offset[0] else None
    axes.annotate(
        label, point, offset, textcoords="offset points", ha=_alignment(offset), va="center", fontsize=LABEL_SIZE,
        arrowprops=leader,
    )  # fmt: skip
