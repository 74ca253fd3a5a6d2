"""Pictures of a study or a scenario, in one style.

Pure functions from tables to a matplotlib Figure, without pyplot's global state.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

# Okabe and Ito's colours, which colour-blind readers can tell apart; yellow is too pale for a line.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
BETTER, WORSE = COLOURS[:2]
DASHES = ("-", "--", ":", "-.")
ANNOTATED = 20  # classes up to which each count is written out
STYLE: Any = {
    "figure.dpi": 120,
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e0e0e0",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "text.parse_math": False,  # a class may be called '$'
}
FONTS = (  # for names that the first has no letters for, where the machine has any of the others
    *("DejaVu Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Microsoft YaHei", "PingFang SC", "Hiragino Sans"),
    *("Noto Sans Arabic", "Noto Sans Devanagari", "Noto Emoji", "Segoe UI Emoji"),
)


def write(figure: Figure, path: Path) -> None:
    """Save a figure; letters that no font here has are shown as boxes, which is not worth a warning."""
    from matplotlib import font_manager

    there = {font.name for font in font_manager.fontManager.ttflist}
    with rc_context({"font.family": [name for name in FONTS if name in there]}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(path)


@rc_context(STYLE)
def confusion(matrix: pd.DataFrame | ArrayLike, names: Sequence[str], title: str = "") -> Figure:
    """What each class was taken for, coloured by the share of its samples: (K, K) counts, truth in rows."""
    side = _side(len(names))
    figure = Figure(figsize=(side + 0.8, side))
    axes = figure.subplots()
    _heat(figure, axes, np.asarray(matrix, dtype=float), names)
    axes.set(xlabel="taken for", ylabel="class", title=title)
    return figure


@rc_context(STYLE)
def per_class(table: pd.DataFrame, std: pd.DataFrame | None = None, title: str = "") -> Figure:
    """Differences in recall, in points: a row per class, a panel per column of the table.

    Columns that end with ' recall' are no differences; they are shown only where there is nothing else.

    Args:
        std: a standard deviation for each value, by the same names.
    """
    shown = [name for name in table if not str(name).endswith(" recall")] or list(table)
    k = len(table)
    height = float(np.clip(1.2 + 0.2 * k, 2.5, 24))
    figure = Figure(figsize=(2.0 + 2.2 * len(shown), height))
    rows = np.arange(k)
    for axes, name in zip(
        figure.subplots(1, len(shown), sharex=True, sharey=True, squeeze=False)[0], shown, strict=True
    ):
        values = 100 * table[name].to_numpy(dtype=float)
        error = 100 * std[name].to_numpy(dtype=float) if std is not None and name in std else None
        colours = [BETTER if value >= 0 else WORSE for value in values]
        axes.barh(rows, values, xerr=error, color=colours, error_kw={"lw": 0.8, "ecolor": "#444444"})
        axes.axvline(0, color="#444444", lw=0.8)
        axes.set_title(short(name, 48).replace(" - ", "\n− "), fontsize=8)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("points of recall")
    axes.set_yticks(rows, [short(name) for name in table.index], fontsize=8 if k <= 40 else 6)
    axes.set_ylim(k - 0.4, -0.6)  # the first class on top
    if title:
        figure.suptitle(title)
    return figure


@rc_context(STYLE)
def curves(table: pd.DataFrame, title: str = "") -> Figure:
    """Test accuracy by epoch: the mean over seeds of each method, in a band of one standard deviation.

    Args:
        table: columns method, seed, epoch, accuracy; a line per epoch of a run.
    """
    figure = Figure(figsize=(7.5, 4.2))
    axes = figure.subplots()
    for number, (method, lines) in enumerate(table.groupby("method", sort=False)):
        along = lines.groupby("epoch")["accuracy"].agg(["mean", "std"]) * 100
        dash, colour = DASHES[number // len(COLOURS) % len(DASHES)], COLOURS[number % len(COLOURS)]
        axes.plot(along.index, along["mean"], dash, color=colour, lw=1.5, label=short(method, 34))
        low, high = along["mean"] - along["std"], along["mean"] + along["std"]
        axes.fill_between(along.index, low, high, color=colour, alpha=0.15, lw=0)
    axes.set(xlabel="epoch", ylabel="test accuracy (%)", title=title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if axes.lines:
        figure.legend(loc="outside right upper")
    return figure


@rc_context(STYLE)
def scenario(
    table: pd.DataFrame,
    matrix: ArrayLike,
    samples: Sequence[tuple[NDArray[np.uint8], str, str]],
    title: str = "",
) -> Figure:
    """What a scenario did: class sizes, the transition matrix, and a sheet of corrupted samples.

    Args:
        table: a row per class with before and, of what is shown, clean, corrupted and foreign.
        matrix: own samples, label before in rows, label shown in columns: (K, K) counts.
        samples: image (C, H, W), label before, label shown; as many as are to be drawn, or none.
    """
    side = max(_side(len(table)), 5.0)
    width = max(2 * side, 11.0)
    across = 8 if width < 16 else 12
    lines = -(-len(samples) // across)
    low = 1.15 * lines * width / across
    figure = Figure(figsize=(width, side + low + 0.4))
    figure.suptitle(short(title, 150))
    upper, *lower = figure.subfigures(
        1 + bool(samples), 1, height_ratios=[side, low] if samples else [1], squeeze=False
    )[:, 0]
    left, right = upper.subplots(1, 2)
    _sizes(left, table)
    _heat(upper, right, np.asarray(matrix, dtype=float), list(table.index))
    right.set(xlabel="label shown", ylabel="label before", title="own images, realised")
    for below in lower:
        cells = below.subplots(lines, across, squeeze=False).ravel()
        for axes in cells:
            axes.set_axis_off()
        for axes, (image, before, shown) in zip(cells, samples, strict=False):
            axes.imshow(image.transpose(1, 2, 0), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set_title(_arrow(before, shown), fontsize=7)
    return figure


def _arrow(before: str, shown: str) -> str:
    """Two labels above a small picture, in two lines where one is long."""
    one, other = short(before, 20), short(shown, 18)
    return f"{one}{' ' if len(one + other) < 15 else chr(10)}-> {other}"


def _sizes(axes: Axes, table: pd.DataFrame) -> None:
    """Class sizes before, behind what is shown of each class by what it is."""
    k = len(table)
    rows = np.arange(k)
    axes.barh(rows, table["before"], height=0.9, color="#d0d0d0", label="before")
    start = np.zeros(k)
    for name, colour in (("clean", COLOURS[0]), ("corrupted", COLOURS[1]), ("foreign", COLOURS[3])):
        if name == "clean" or table[name].any():
            axes.barh(rows, table[name], height=0.5, left=start, color=colour, label=f"shown, {name}")
        start = start + table[name].to_numpy(dtype=float)
    ticks = range(0, k, -(-k // 120))
    axes.set_yticks(ticks, [short(table.index[i]) for i in ticks], fontsize=8 if k <= ANNOTATED else 5.5)
    axes.set_ylim(k - 0.4, -0.6)  # the first class on top
    axes.set(xlabel="samples", ylabel="label")
    axes.grid(visible=False, axis="y")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, fontsize=7, columnspacing=1.0)


def _side(classes: int) -> float:
    """Inches of a matrix."""
    return float(np.clip(2.2 + 0.42 * classes, 4, 7) if classes <= ANNOTATED else np.clip(0.13 * classes, 7, 16))


def _heat(figure: Figure | SubFigure, axes: Axes, counts: NDArray[np.float64], names: Sequence[str]) -> None:
    """Counts, written out where they are few, coloured by the share of their row."""
    support = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, support, out=np.full_like(counts, np.nan), where=support > 0)
    k = len(names)
    axes.set_facecolor("#eeeeee")  # of a class without samples
    axes.imshow(share, cmap="cividis", vmin=0, vmax=1, interpolation="nearest")
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), "cividis"), ax=axes, fraction=0.046, pad=0.02)
    bar.set_label("share of the class")
    ticks = range(0, k, -(-k // 120))  # beyond 120 names, every so many
    labels, size = [short(names[i]) for i in ticks], 8 if k <= ANNOTATED else 5.5
    axes.set_xticks(ticks, labels, fontsize=size, rotation=90)
    axes.set_yticks(ticks, labels, fontsize=size)
    axes.grid(visible=False)
    for i, j in np.ndindex(k, k) if k <= ANNOTATED else ():
        if counts[i, j]:
            colour = "black" if share[i, j] > 0.5 else "white"
            text = axes.text(j, i, f"{counts[i, j]:.0f}", ha="center", va="center", fontsize=7, color=colour)
            text.set_in_layout(False)  # 400 of them would be measured twice


def short(name: object, letters: int = 24) -> str:
    """A name that fits beside an axis.

    >>> short("a name that is far too long for a picture")
    'a name that is far too …'
    """
    text = str(name)
    return text if len(text) <= letters else text[: letters - 1] + "…"
