"""The chart of a scenario: class sizes, the transition matrix and samples."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from numpy.typing import ArrayLike, NDArray

from pipelines.report.charts.axes import named_places
from pipelines.report.charts.matrices import MAX_ANNOTATED_COUNTS, draw_counts, matrix_side
from pipelines.report.charts.short_names import shorten, shorten_distinctly
from pipelines.report.charts.style import COLOURS, FIGURE_STYLE

Sample = tuple[NDArray[np.uint8], str, str]  # image (C, H, W), label before, label shown


@rc_context(FIGURE_STYLE)
def plot_scenario(table: pd.DataFrame, matrix: ArrayLike, samples: Sequence[Sample], title: str = "") -> Figure:
    """Plot what a scenario changed: class sizes, the transition matrix, and corrupted samples.

    Args:
        table: a row per class: before and, of what is shown, clean, corrupted and foreign.
        matrix: the data set's own samples, label before in rows, label shown in columns: (K, K) counts.
        samples: those to draw, possibly none.
    """
    side = max(matrix_side(len(table)), 5.0)
    width = max(2 * side, 11.0)
    across = 8 if width < 16 else 12
    lines = -(-len(samples) // across)
    height = 1.15 * lines * width / across
    figure = Figure(figsize=(width, side + height + 0.4))
    figure.suptitle(shorten(title, 150))
    upper, *lower = figure.subfigures(
        1 + bool(samples), 1, height_ratios=[side, height] if samples else [1], squeeze=False
    )[:, 0]
    left, right = upper.subplots(1, 2)
    _draw_class_sizes(left, table)
    draw_counts(upper, right, np.asarray(matrix, dtype=float), list(table.index))
    right.set(xlabel="label shown", ylabel="label before", title="own images, realised")
    for part in lower:
        _draw_samples(part, samples, lines, across)
    return figure


def _draw_samples(figure: SubFigure, samples: Sequence[Sample], lines: int, across: int) -> None:
    """Draw samples in a grid."""
    grid = figure.subplots(lines, across, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, (image, before, shown) in zip(grid, samples, strict=False):
        axes.imshow(image.transpose(1, 2, 0), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_title(_label_change(before, shown), fontsize=7)


def _label_change(before: str, shown: str) -> str:
    """Return two labels as the title of a small image, in two lines where one is too long."""
    one, other = shorten(before, 20), shorten(shown, 18)
    return f"{one}{' ' if len(one + other) < 15 else chr(10)}-> {other}"


def _draw_class_sizes(axes: Axes, table: pd.DataFrame) -> None:
    """Draw class sizes before the scenario, and in front of them the samples shown as each class by kind."""
    k = len(table)
    rows = np.arange(k)
    axes.barh(rows, table["before"], height=0.9, color="#d0d0d0", label="before")
    start = np.zeros(k)
    for name, colour in (("clean", COLOURS[0]), ("corrupted", COLOURS[1]), ("foreign", COLOURS[3])):
        if name == "clean" or table[name].any():
            axes.barh(rows, table[name], height=0.5, left=start, color=colour, label=f"shown, {name}")
        start = start + table[name].to_numpy(dtype=float)
    ticks = named_places(k)
    names = shorten_distinctly(table.index[i] for i in ticks)
    axes.set_yticks(ticks, names, fontsize=8 if k <= MAX_ANNOTATED_COUNTS else 5.5)
    axes.set_ylim(k - 0.4, -0.6)  # the first class at the top
    axes.set(xlabel="samples", ylabel="label")
    axes.grid(visible=False, axis="y")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, fontsize=7, columnspacing=1.0)
