"""Charts of matrices: counts coloured by the share of their row, and shares or their differences in the report."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure, SubFigure
from numpy.typing import ArrayLike, NDArray

from pipelines.report.charts.axes import PANEL_WIDTH, named_places, panel_axes
from pipelines.report.charts.short_names import label_margin, shorten_distinctly
from pipelines.report.charts.style import BETTER_COLOUR, FIGURE_STYLE, PANEL_STYLE, RULE, WORSE_COLOUR
from pipelines.report.formatting import typeset

MAX_ANNOTATED_COUNTS = 20  # classes up to which each count is written
MAX_ANNOTATED_SHARES = 12  # columns up to which each share is written
MAX_NARROW = 30  # rows and columns up to which a matrix is as narrow as other charts


@rc_context(FIGURE_STYLE)
def plot_confusion(matrix: pd.DataFrame | ArrayLike, names: Sequence[str], title: str = "") -> Figure:
    """Plot a confusion matrix, coloured by the share of each class: (K, K) counts, labels in rows."""
    side = matrix_side(len(names))
    figure = Figure(figsize=(side + 0.8, side))
    axes = figure.subplots()
    draw_counts(figure, axes, np.asarray(matrix, dtype=float), names)
    axes.set(xlabel="predicted", ylabel="class", title=title)
    return figure


def matrix_side(classes: int) -> float:
    """Return the side of a matrix of counts in inches."""
    narrow = classes <= MAX_ANNOTATED_COUNTS
    return float(np.clip(2.2 + 0.42 * classes, 4, 7) if narrow else np.clip(0.13 * classes, 7, 16))


def draw_counts(figure: Figure | SubFigure, axes: Axes, counts: NDArray[np.float64], names: Sequence[str]) -> None:
    """Draw a matrix of counts, coloured by the share of their row, and written where they are few: (K, K)."""
    support = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, support, out=np.full_like(counts, np.nan), where=support > 0)
    k = len(names)
    axes.set_facecolor("#eeeeee")  # of a class without samples
    axes.imshow(share, cmap="cividis", vmin=0, vmax=1, interpolation="nearest")
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), "cividis"), ax=axes, fraction=0.046, pad=0.02)
    bar.set_label("share of the class")
    ticks = named_places(k)
    labels, size = shorten_distinctly(names[i] for i in ticks), 8 if k <= MAX_ANNOTATED_COUNTS else 5.5
    axes.set_xticks(ticks, labels, fontsize=size, rotation=90)
    axes.set_yticks(ticks, labels, fontsize=size)
    axes.grid(visible=False)
    for i, j in np.ndindex(k, k) if k <= MAX_ANNOTATED_COUNTS else ():
        if counts[i, j]:
            colour = "black" if share[i, j] > 0.5 else "white"
            text = axes.text(j, i, f"{counts[i, j]:.0f}", ha="center", va="center", fontsize=7, color=colour)
            text.set_in_layout(False)  # measuring 400 of them twice takes long


@rc_context(PANEL_STYLE)
def plot_matrix(
    shares: ArrayLike, rows: Sequence[str], columns: Sequence[str], axis_labels: tuple[str, str], limit: float = 1.0
) -> Figure:
    """Plot a matrix of shares, or of their differences: blue above 0, vermilion below, by the root of their size.

    Args:
        shares: (R, C), NaN where there is none.
        axis_labels: of rows and of columns.
        limit: the size that has the strongest colour.
    """
    share = np.asarray(shares, dtype=float)
    size = _label_size(len(rows), len(columns))
    row_ticks, column_ticks = named_places(len(rows)), named_places(len(columns))
    row_labels = shorten_distinctly((rows[i] for i in row_ticks), 18)
    column_labels = shorten_distinctly((columns[i] for i in column_ticks), 18)
    left, bottom = label_margin(row_labels, size) + 0.18, label_margin(column_labels, size) + 0.2
    width, height = _grid_size(len(rows), len(columns), left)
    figure, axes = panel_axes(left + width + 0.05, height + bottom + 0.1, left, bottom, 0.05)
    pixels = max(1, 240 // max(share.shape))  # an image of few pixels would be blurred in print
    image = np.kron(_colour_shares(share / limit).transpose(2, 0, 1), np.ones((1, pixels, pixels), np.uint8))
    extent = (-0.5, len(columns) - 0.5, len(rows) - 0.5, -0.5)
    axes.imshow(image.transpose(1, 2, 0), extent=extent, interpolation="none", aspect="auto")
    rotation = 0 if max(map(len, column_labels)) < 3 else 90
    axes.set_xticks(column_ticks, column_labels, fontsize=size, rotation=rotation)
    axes.set_yticks(row_ticks, row_labels, fontsize=size)
    axes.set(ylabel=axis_labels[0], xlabel=axis_labels[1])
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set(visible=True, color=RULE)
    if len(columns) <= MAX_ANNOTATED_SHARES:
        # Differences have a sign, even if none is below 0.
        _write_shares(axes, share, signed=bool((share < 0).any()) or limit != 1)
    return figure


def _label_size(rows: int, columns: int) -> float:
    """Return the font size of a matrix's labels."""
    if columns <= MAX_ANNOTATED_SHARES:
        return 7.5
    return 6.5 if max(rows, columns) <= MAX_NARROW else 5.5


def _grid_size(rows: int, columns: int, left: float) -> tuple[float, float]:
    """Return width and height of a matrix without its labels, in inches.

    Args:
        left: inches of its row labels.
    """
    wide = max(rows, columns) > MAX_NARROW
    width = 9.0 - left if wide else PANEL_WIDTH - left - 0.05
    if wide and columns <= MAX_NARROW:  # many methods, few classes
        width = max(PANEL_WIDTH, 0.34 * columns + 0.4)
    pitch = width / columns
    return width, rows * (min(pitch, 0.2) if rows != columns else pitch)


def _write_shares(axes: Axes, share: NDArray[np.float64], signed: bool) -> None:
    """Write the shares into their cells, except those that would be rounded to 0."""
    for i, j in np.ndindex(share.shape):
        if abs(value := 100 * share[i, j]) >= (0.05 if signed else 0.5):
            text = f"{value:+.{1 if abs(value) < 9.95 else 0}f}" if signed else f"{value:.0f}"
            axes.text(j, i, typeset(text), ha="center", va="center", fontsize=6.5 if signed else 7)


def _colour_shares(share: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Colour shares from -1 to 1, at most three quarters opaque, so that text is legible on them: (R, C) -> (R, C, 4)."""
    colour = np.where((share < 0)[..., None], to_rgb(WORSE_COLOUR), to_rgb(BETTER_COLOUR))
    alpha = 0.75 * np.sqrt(np.clip(np.abs(np.nan_to_num(share)), 0, 1))
    image: NDArray[np.uint8] = np.round(255 * np.dstack([colour, alpha])).astype(np.uint8)
    return image
