"""The chart of accuracy by cost."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipelines.report.charts.axes import PANEL_LEFT, panel_axes, set_log_ticks
from pipelines.report.charts.short_names import label_margin, shorten_distinctly
from pipelines.report.charts.style import FAINT, MUTED, PANEL_STYLE

NAME_PITCH = 0.155  # inches from one name to the next


@rc_context(PANEL_STYLE)
def plot_costs(table: pd.DataFrame, highlighted: Mapping[str, str]) -> Figure:
    """Plot accuracy by seconds on a logarithmic axis, with the names in a column, the most accurate at the top.

    Args:
        table: a row per method: seconds, accuracy.
        highlighted: methods that stand out, and their colours.
    """
    table = table.sort_values("accuracy", ascending=False, kind="stable")
    names = shorten_distinctly(table.index)
    name_width = label_margin(names, 7.5)
    height = max(2.9, 0.62 + NAME_PITCH * len(table))
    figure, axes = panel_axes(2.75 + name_width, height, PANEL_LEFT, right=name_width + 0.3)
    accuracy = 100 * table["accuracy"].astype(float)
    # A method that failed must not press the others together: it is drawn at the edge, with its number.
    floor = accuracy.quantile(0.25) - 3 * (accuracy.max() - accuracy.quantile(0.25))
    names = [n if v >= floor else f"{n}, {v:.1f}" for n, v in zip(names, accuracy, strict=True)]
    drawn = accuracy[accuracy >= floor]
    places = accuracy.where(accuracy >= floor, drawn.min() - 0.06 * (accuracy.max() - drawn.min()))
    for method, seconds, place, failed in zip(table.index, table["seconds"], places, accuracy < floor, strict=True):
        marker = "v" if failed else "o"
        axes.plot(seconds, place, marker, color=highlighted.get(str(method), MUTED), ms=5, zorder=3)
    axes.set_xscale("log")
    axes.set_xlim(table["seconds"].min() / 1.25, table["seconds"].max() * 1.25)
    axes.margins(y=0.06)
    set_log_ticks(axes)
    _write_names(figure, table["seconds"], places, names, highlighted)
    axes.set(xlabel="seconds of a run, the teacher's included", ylabel="accuracy (%)")
    return figure


def _write_names(
    figure: Figure,
    seconds: "pd.Series[float]",
    accuracy: "pd.Series[float]",
    names: Sequence[str],
    highlighted: Mapping[str, str],
) -> None:
    """Write the names right of the axes, each with a line to its point."""
    (axes,) = figure.axes
    bottom, top = axes.get_ylim()
    height = figure.get_size_inches()[1] - 0.52
    places = spread_apart((accuracy - bottom) / (top - bottom), NAME_PITCH / height)
    width = figure.get_size_inches()[0] * axes.get_position().width
    for name, place, method in zip(names, places, seconds.index, strict=True):
        end = (1 + 0.25 / width, place)
        line = {"arrowstyle": "-", "color": highlighted.get(str(method), FAINT), "lw": 0.6, "shrinkA": 0, "shrinkB": 2}
        axes.annotate(
            "", (seconds[method], accuracy[method]), end, textcoords="axes fraction", annotation_clip=False,
            arrowprops=line,
        )  # fmt: skip
        weight = "bold" if str(method) in highlighted else "normal"
        at = end[0] + 0.04 / width
        axes.text(at, place, name, transform=axes.transAxes, va="center", weight=weight, fontsize=7.5)


def spread_apart(targets: "pd.Series[float]", gap: float) -> NDArray[np.float64]:
    """Return places from 1 down to 0 near their targets, in the same order, at least a gap apart as far as there is room.

    >>> spread_apart(pd.Series([0.9, 0.9, 0.1]), 0.2).round(2).tolist()
    [0.9, 0.7, 0.1]
    """
    places = np.minimum(targets.to_numpy(dtype=float), 1)
    gap = min(gap, 1 / max(1, len(places) - 1))
    for i in range(1, len(places)):
        places[i] = min(places[i], places[i - 1] - gap)
    for i in range(len(places) - 1, -1, -1):  # those pushed below 0 push back
        places[i] = max(places[i], 0 if i == len(places) - 1 else places[i + 1] + gap)
    return places
