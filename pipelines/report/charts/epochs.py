"""Charts of metrics by epoch: of one study with a legend, in the report, and of several studies side by side."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import pandas as pd
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipelines.report.charts.axes import PANEL_LEFT, PANEL_WIDTH, limit_to_percent, panel_axes, set_epoch_ticks
from pipelines.report.charts.short_names import shorten, shorten_distinctly
from pipelines.report.charts.style import COLOURS, FAINT, FIGURE_STYLE, INK, PANEL_STYLE, line_style, panel_line_styles

SWEEP_METRICS = ("accuracy", "memorised")


def mean_over_seeds(curves: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return mean and standard deviation over seeds in per cent, by method and epoch, in the order of the methods.

    Args:
        curves: method, seed, epoch and the column; a row per epoch of a run.
    """
    return curves.groupby(["method", "epoch"], sort=False)[column].agg(["mean", "std"]) * 100


def _draw_mean_line(axes: Axes, line: pd.DataFrame, band_alpha: float, size: float, **style: Any) -> None:
    """Draw a mean by epoch in a band of one standard deviation; a single epoch is a point."""
    single = len(line) == 1
    axes.plot(line.index, line["mean"], lw=1.5, marker="o" if single else None, ms=size, **style)
    low, high = (line["mean"] - line["std"]).clip(lower=0), (line["mean"] + line["std"]).clip(upper=100)
    axes.fill_between(line.index, low, high, color=style["color"], alpha=band_alpha, lw=0)


@rc_context(FIGURE_STYLE)
def plot_accuracy_curves(curves: pd.DataFrame, title: str = "") -> Figure:
    """Plot the test accuracy of all methods by epoch: the mean over seeds, in a band of one standard deviation.

    Args:
        curves: method, seed, epoch, accuracy; a row per epoch of a run.
    """
    figure = Figure(figsize=(7.5, 4.2))
    axes = figure.subplots()
    lines = mean_over_seeds(curves, "accuracy")
    methods = list(dict.fromkeys(curves["method"]))
    for place, (method, label) in enumerate(zip(methods, shorten_distinctly(methods, 34), strict=True)):
        colour, dash = line_style(place)
        _draw_mean_line(axes, lines.loc[method], 0.15, 6, color=colour, ls=dash, label=label)
    axes.set(xlabel="epoch", ylabel="test accuracy (%)", title=title)
    if axes.lines:
        set_epoch_ticks(axes, curves["epoch"].max(), 9)
        limit_to_percent(axes)
        figure.legend(loc="outside right upper")
    return figure


@rc_context(PANEL_STYLE)
def plot_epochs(
    curves: pd.DataFrame, column: str, methods: Sequence[str], stop: tuple[float, float] | None = None
) -> Figure:
    """Plot a share by epoch: the mean over seeds, in a band of one standard deviation.

    Args:
        curves: method, seed, epoch and the column; a row per epoch of a run.
        methods: those in colours of their own, the first in ink; all others are thin lines in the background.
        stop: epoch and share at which the baseline was stopped early.
    """
    figure, axes = panel_axes(PANEL_WIDTH, 2.5, PANEL_LEFT)
    lines = mean_over_seeds(curves, column)
    for method in dict.fromkeys(curves["method"]):
        if method not in methods:
            marker = "o" if len(lines.loc[method]) == 1 else None
            axes.plot(lines.loc[method]["mean"], color=FAINT, lw=0.6, alpha=0.7, marker=marker, ms=2.5)
    for method, (colour, dash) in reversed(list(zip(methods, panel_line_styles(len(methods)), strict=True))):
        if method in lines.index:
            line = lines.loc[method]
            _draw_mean_line(axes, line, 0.13, 3.5, color=colour, ls=dash, zorder=4 if len(line) == 1 else 2)
    if stop is not None:
        axes.plot(stop[0], 100 * stop[1], "D", color=INK, ms=6, mfc="#ffffff", mew=1.2, zorder=3)
    axes.set(xlabel="epoch", ylabel="per cent")
    set_epoch_ticks(axes, curves["epoch"].max())
    limit_to_percent(axes)
    return figure


class StudyCurves(NamedTuple):
    """The curves of a study in a sweep.

    Attributes:
        title: of the study.
        curves: method, seed, epoch, accuracy and possibly memorised; a row per epoch of a run.
        stop: epoch and accuracy at which the baseline was stopped early.
    """

    title: str
    curves: pd.DataFrame
    stop: tuple[float, float] | None


@rc_context(FIGURE_STYLE)
def plot_sweep_curves(studies: Sequence[StudyCurves], methods: Sequence[str]) -> Figure:
    """Plot studies side by side: test accuracy by epoch, the mean over seeds, and below it memorisation where it is known.

    The axis of accuracy begins where the lines are after a quarter of training: the first epochs, which are steep, say little
    about methods.

    Args:
        methods: those to draw, in one colour each in all panels; the first is the baseline.
    """
    across = min(4, len(studies))
    bands = [studies[start : start + across] for start in range(0, len(studies), across)]
    rows = [(band, name) for band in bands for name in SWEEP_METRICS if any(name in study.curves for study in band)]
    heights = [2.2 if name == "accuracy" else 1.4 for _, name in rows]
    figure = Figure(figsize=(max(1.2 + 2.5 * across, 5.5), 0.7 + sum(heights)))
    grid = figure.subplots(len(rows), across, squeeze=False, height_ratios=heights)
    legend: dict[str, Artist] = {}
    for place, (band, name) in enumerate(rows):
        for axes, study in zip_longest(grid[place], band):
            if study is None or name not in study.curves:
                axes.set_axis_off()
            else:
                legend |= _draw_study(axes, study, name, methods)
        first = next((axes for axes in grid[place] if axes.axison), grid[place, 0])
        first.set_ylabel("test accuracy (%)" if name == "accuracy" else "memorised (%)")
        for axes in grid[place] if place + 1 == len(rows) or rows[place + 1][0] is not band else ():
            axes.set_xlabel("epoch")
    figure.suptitle("mean over seeds", fontsize=8)
    figure.legend(list(legend.values()), list(legend), loc="outside lower center", ncols=3)
    return figure


def _draw_study(axes: Axes, study: StudyCurves, column: str, methods: Sequence[str]) -> dict[str, Artist]:
    """Draw the lines of a study, and return what the legend explains."""
    legend: dict[str, Artist] = {}
    floors = []
    for place, (method, label) in enumerate(zip(methods, shorten_distinctly(methods, 34), strict=True)):
        colour, dash = line_style(place)
        line = 100 * study.curves[study.curves["method"] == method].groupby("epoch")[column].mean()
        if len(line):
            floors.append(line[line.index >= line.index.max() / 4].min())
            marker = "o" if len(line) == 1 else None
            legend[label] = axes.plot(line.index, line, dash, color=colour, lw=1.2, marker=marker)[0]
    if column == "accuracy":
        axes.set_title(shorten(study.title, 34), fontsize=8)
        if study.stop is not None:
            epoch, accuracy = study.stop[0], 100 * study.stop[1]
            floors.append(accuracy)
            star = axes.plot(epoch, accuracy, "*", color=COLOURS[0], mec="white", mew=0.5, ms=11, ls="none")[0]
            legend[f"{methods[0]}, stopped early"] = star
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    top, low = axes.get_ylim()[1], 0.0 if column == "memorised" else min(floors, default=0.0)
    axes.set_ylim(bottom=low - 0.1 * (top - low) if low else 0)
    return legend
