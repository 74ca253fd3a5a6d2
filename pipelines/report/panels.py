"""The panels of a report: pictures as wide as a column of text, so that they stand side by side or, on a phone, in a row.

Pure functions from tables to a matplotlib Figure. Titles and legends are the page's. Blue is better or more, vermilion worse;
what is stronger is less transparent, so that a panel reads on light paper and on dark.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import ArrayLike, NDArray

from pipelines.report.charts import BETTER, COLOURS, FAINT, INK, MUTED, RULE, STYLE, WORSE, epochs, per_cent, shorts
from robustkd.evaluation.results import ReliabilityBin

PANEL: Any = {**STYLE, "figure.constrained_layout.use": False, "font.size": 8.5, "axes.titlesize": 9}
WIDTH = 3.6  # inches of a panel
LOOKS = ((BETTER, "-"), (WORSE, "--"), (COLOURS[2], "-."), (COLOURS[3], ":"), (COLOURS[5], (0, (4, 1, 1, 1, 1, 1))))
NUMBERED = 12  # classes up to which a matrix is written out
NAMED = 30  # classes up to which a matrix is no wider than any panel


def _framed(width: float, height: float, left: float, bottom: float = 0.42, right: float = 0.12) -> tuple[Figure, Axes]:
    """Axes with margins in inches."""
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + 0.1) / height))
    return figure, axes


def _room(names: Sequence[str], size: float) -> float:
    """Inches that the longest name takes."""
    return max((_long(name, size) for name in names), default=0) / 72 + 0.12


def _long(name: str, size: float) -> float:
    """About how many points a name takes; letters of East Asian width count twice."""
    return 0.56 * size * sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in name)


def _points(value: float) -> str:
    """A number of points with a true minus."""
    return f"{value:.1f}".replace("-", "−")


def _rows(axes: Axes, names: Sequence[str], size: float) -> None:
    """A name for each row, the first on top."""
    axes.set_yticks(range(len(names)), names, fontsize=size)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


@rc_context(PANEL)
def forest(table: pd.DataFrame, stopped: float | None = None) -> Figure:
    """Differences from the reference with their intervals, in points, the largest on top; full marks where a verdict is given.

    Args:
        table: a row per method: difference, low, high, verdict.
        stopped: where the baseline stopped early lies, if it was.
    """
    table = table[table["difference"].notna()].sort_values("difference", ascending=False)
    names = shorts(table.index, 26)
    room = _room(names, 8)
    figure, axes = _framed(4.0, 0.7 + 0.19 * max(3, len(table)), room)
    value, low, high = (100 * table[name].to_numpy(dtype=float) for name in ("difference", "low", "high"))
    # A method that failed, or the interval of two seeds, must not make the others indistinguishable: what lies far out is
    # told by its number, what goes on beyond the axis ends in an arrow with its own.
    wide = (high - low)[~np.isnan(high - low)] / 2
    typical = (float(np.median(each)) if len(each) else 0.0 for each in (np.abs(value), wide))
    reach = min(100.0, max(6 * next(typical), min(3 * next(typical), 20.0), 5.0))
    shown = np.abs(value) <= reach
    ends = np.concatenate([value[shown], low[shown], high[shown], [] if stopped is None else [100 * stopped]])
    inside = np.clip(ends[~np.isnan(ends)], -reach, reach)
    left, right = float(inside.min(initial=0)), float(inside.max(initial=0))
    if right - left < 1:
        left, right = left - 0.5, right + 0.5
    for row, verdict in enumerate(table["verdict"]):
        colour = {"better": BETTER, "worse": WORSE}.get(verdict, MUTED)
        mark = {"better": "D", "worse": "s"}.get(verdict, "o")
        fill = colour if verdict in ("better", "worse") else "#ffffff"
        if shown[row]:
            span = np.clip([low[row], high[row]], left, right)
            axes.plot(span, [row, row], color=colour, lw=1.4, solid_capstyle="butt")
            for end, edge, ha, arrow in ((low[row], left, "left", "<"), (high[row], right, "right", ">")):
                if end < left or end > right:
                    axes.plot(edge, row, arrow, color=colour, ms=4)
                    # Its number stands above it, within the row.
                    axes.annotate(
                        _points(end),
                        (edge, row),
                        (0, 3),
                        textcoords="offset points",
                        ha=ha,
                        fontsize=6.5,
                        color=colour,
                    )
            axes.plot(value[row], row, mark, color=colour, ms=4.5, mfc=fill, mew=1.1)
        else:
            text = _points(value[row])
            if low[row] == low[row]:
                text += f" ({_points(low[row])} to {_points(high[row])})"
            at, ha, text = (left, "left", f"◂ {text}") if value[row] < 0 else (right, "right", f"{text} ▸")
            axes.text(at, row, text, ha=ha, va="center", color=colour, fontsize=7.5)
    axes.axvline(0, color=INK, lw=0.9, zorder=0)
    if stopped is not None:
        axes.axvline(100 * stopped, color=MUTED, lw=0.9, ls=(0, (4, 2)), zorder=0)
    _rows(axes, names, 8)
    pad = (right - left) * 8 / (72 * (3.88 - room) - 16)  # 8 points: no mark lies on the edge
    axes.set_xlim(left - pad, right + pad)
    axes.set_xlabel("points of balanced accuracy")
    return figure


def reach(table: pd.DataFrame) -> float:
    """How far an axis of differences per class goes either way, in points: 100 at most, and not so far that bars are lost.

    Few seeds give intervals of hundreds of points, where no difference can be more than 100.
    """
    return float(min(100.0, max(5.0, 300 * table["difference"].abs().max())))


@rc_context(PANEL)
def bars(table: pd.DataFrame) -> Figure:
    """Differences in recall per class with their intervals, in points, the largest on top.

    An interval that goes on beyond the axis ends in an arrow.

    Args:
        table: class, difference, low, high; a row per class.
    """
    table = table[table["difference"].notna()].sort_values("difference", ascending=False, kind="stable")
    k = len(table)
    size, pitch = (8, 0.19) if k <= 40 else (6.5, 0.125)
    names, rows = shorts(table["class"], 22), np.arange(k)
    figure, axes = _framed(WIDTH, 0.7 + pitch * max(3, k), _room(names, size))
    value, low, high = (100 * table[name].to_numpy(dtype=float) for name in ("difference", "low", "high"))
    axes.barh(rows, value, height=0.62, color=[BETTER if v >= 0 else WORSE for v in value], alpha=0.75, lw=0)
    most = reach(table) if k else 5.0
    span = np.clip([low, high], -most, most)
    axes.hlines(rows, *span, color=INK, lw=0.9)
    for beyond, edge, arrow in ((low < -most, -most, "<"), (high > most, most, ">")):
        axes.plot(np.full(beyond.sum(), edge), rows[beyond], arrow, color=INK, ms=3.5, ls="none")
    axes.axvline(0, color=INK, lw=0.9)
    _rows(axes, names, size)
    ends = np.concatenate([span.ravel(), value])
    left, right = min(np.nanmin(ends, initial=0), -0.5), max(np.nanmax(ends, initial=0), 0.5)
    pad = 0.05 * (right - left)
    axes.set_xlim(left - pad, right + pad)
    axes.set_xlabel("points of recall")
    return figure


@rc_context(PANEL)
def along(curves: pd.DataFrame, column: str, shown: Sequence[str], stop: tuple[float, float] | None = None) -> Figure:
    """A share by epoch: mean over seeds in a band of one standard deviation; the first method in ink, the rest in their looks.

    Args:
        curves: method, seed, epoch and the column; a line per epoch of a run.
        shown: methods that are told apart; all others are thin lines behind them.
        stop: epoch and share at which the baseline was stopped early.
    """
    figure, axes = _framed(WIDTH, 2.5, 0.45)
    grouped = curves.groupby(["method", "epoch"], sort=False)[column].agg(["mean", "std"]) * 100
    for method in dict.fromkeys(curves["method"]):
        if method not in shown:
            point = "o" if len(grouped.loc[method]) == 1 else None  # a line of one point is none
            axes.plot(grouped.loc[method]["mean"], color=FAINT, lw=0.6, alpha=0.7, marker=point, ms=2.5)
    for method, (colour, dash) in reversed(list(zip(shown, look(len(shown)), strict=True))):
        if method in grouped.index:
            line = grouped.loc[method]
            point = "o" if len(line) == 1 else None
            axes.plot(line["mean"], color=colour, ls=dash, lw=1.5, marker=point, ms=3.5, zorder=4 if point else 2)
            low, high = (line["mean"] - line["std"]).clip(lower=0), (line["mean"] + line["std"]).clip(upper=100)
            axes.fill_between(line.index, low, high, color=colour, alpha=0.13, lw=0)
    if stop is not None:
        axes.plot(stop[0], 100 * stop[1], "D", color=INK, ms=6, mfc="#ffffff", mew=1.2, zorder=3)
    axes.set(xlabel="epoch", ylabel="per cent")
    epochs(axes, curves["epoch"].max())
    per_cent(axes)
    return figure


def look(count: int) -> list[tuple[str, Any]]:
    """Colour and dash of each of some lines, the first in ink."""
    return [(INK, "-"), *(LOOKS[number % len(LOOKS)] for number in range(count - 1))][:count]


@rc_context(PANEL)
def matrix(
    shares: ArrayLike, rows: Sequence[str], columns: Sequence[str], axis: tuple[str, str], most: float = 1.0
) -> Figure:
    """A matrix of shares, or of their differences: blue above 0, vermilion below, by the root of their size.

    Args:
        shares: (R, C), NaN where there is none.
        axis: what stands in rows, and what in columns.
        most: the size that is coloured in full.
    """
    share = np.asarray(shares, dtype=float)
    many = max(len(rows), len(columns)) > NAMED
    size = 7.5 if len(columns) <= NUMBERED else 6.5 if not many else 5.5
    down, across = (shorts(names, 18) for names in (rows, columns))
    left, bottom = _room(down, size) + 0.18, _room(across, size) + 0.2
    inside = 9.0 - left if many else WIDTH - left - 0.05
    if many and len(columns) <= NAMED:  # many methods, few classes
        inside = max(WIDTH, 0.34 * len(columns) + 0.4)
    pitch = inside / len(columns)
    tall = min(pitch, 0.2) if len(rows) != len(columns) else pitch
    figure, axes = _framed(left + inside + 0.05, tall * len(rows) + bottom + 0.1, left, bottom, 0.05)
    pixels = max(1, 240 // max(share.shape))  # a picture of few pixels would be blurred where it is printed
    image = np.kron(_tinted(share / most).transpose(2, 0, 1), np.ones((1, pixels, pixels), np.uint8)).transpose(1, 2, 0)
    extent = (-0.5, len(columns) - 0.5, len(rows) - 0.5, -0.5)
    axes.imshow(image, extent=extent, interpolation="none", aspect="auto")
    axes.set_xticks(range(len(columns)), across, fontsize=size, rotation=0 if max(map(len, across)) < 3 else 90)
    axes.set_yticks(range(len(rows)), down, fontsize=size)
    axes.set(ylabel=axis[0], xlabel=axis[1])
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set(visible=True, color=RULE)
    signed = bool((share < 0).any()) or most != 1  # differences have their sign, even if none is below 0
    for i, j in np.ndindex(share.shape) if len(columns) <= NUMBERED else ():
        if abs(value := 100 * share[i, j]) >= (0.05 if signed else 0.5):
            text = f"{value:+.{1 if abs(value) < 9.95 else 0}f}" if signed else f"{value:.0f}"
            axes.text(j, i, text.replace("-", "−"), ha="center", va="center", fontsize=6.5 if signed else 7)
    return figure


def _tinted(share: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Shares from -1 to 1 as colours, at most three quarters opaque, so that ink can be read on them: (R, C) -> (R, C, 4)."""
    colour = np.where((share < 0)[..., None], to_rgb(WORSE), to_rgb(BETTER))
    alpha = 0.75 * np.sqrt(np.clip(np.abs(np.nan_to_num(share)), 0, 1))
    tinted: NDArray[np.uint8] = np.round(255 * np.dstack([colour, alpha])).astype(np.uint8)
    return tinted


@rc_context(PANEL)
def reliability(bins: Sequence[ReliabilityBin], colour: str) -> Figure:
    """How often a net is right by how sure it is: bars of accuracy, the gap to the confidence, and how many samples each holds.

    Args:
        bins: low, high, count, confidence, accuracy (None where the bin is empty).
    """
    figure, axes = _framed(2.9, 2.7, 0.45)
    most = max(1, *(one.count for one in bins))
    axes.plot([0, 100], [0, 100], color=MUTED, lw=0.9, ls=(0, (4, 2)))
    for one in bins:
        if one.count:
            low, width = 100 * one.low, 100 * (one.high - one.low)
            right, sure = 100 * (one.accuracy or 0.0), 100 * (one.confidence or 0.0)
            axes.bar(low, right, width, align="edge", color=colour, alpha=0.3, lw=0)
            axes.bar(low, 12 * one.count / most, width, align="edge", color=INK, alpha=0.5, lw=0)
            axes.plot([sure, sure], [sure, right], color=WORSE, lw=1)
            axes.plot(sure, right, "o", color=colour, ms=3.5)
    axes.set(xlim=(0, 100), ylim=(0, 101), xlabel="confidence (%)", ylabel="accuracy (%)")
    axes.set_xticks(range(0, 101, 20))
    axes.set_yticks(range(0, 101, 20))
    return figure


@rc_context(PANEL)
def sizes(counts: "pd.Series[float]", recalls: Mapping[str, "pd.Series[float]"]) -> Figure:
    """Recall of each class by the training images shown as it: rings for the first method, discs for the second."""
    figure, axes = _framed(WIDTH, 2.9, 0.45)
    frame = pd.DataFrame({**{str(n): 100 * values for n, values in enumerate(recalls.values())}, "count": counts})
    if len(recalls) == 2:
        axes.vlines(frame["count"], frame["0"], frame["1"], color=FAINT, lw=0.9)
    for n, (colour, inside) in zip(range(len(recalls)), ((INK, "#ffffff"), (BETTER, BETTER)), strict=False):
        size = 4.5 if len(frame) <= 20 else 3
        axes.plot(frame["count"], frame[str(n)], "o", color=colour, mfc=inside, ms=size, mew=1, zorder=3)
    axes.margins(x=0.08, y=0.12)
    if frame["count"].max() > 5 * max(1, frame["count"].min()):
        axes.set_xscale("log")
        _plain(axes, whole=True)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        if (left := axes.get_xlim())[1] - left[0] < 2:
            axes.set_xlim(frame["count"].mean() - 1, frame["count"].mean() + 1)
    axes.set_yticks(range(0, 101, 20))
    axes.set_ylim(-8, 112)  # room for names about the marks on the edges
    if len(frame) <= 20:
        nets = [str(n) for n in range(len(recalls))]
        _name(
            axes, list(map(str, frame.index)), frame["count"].to_numpy(dtype=float), frame[nets].to_numpy(dtype=float)
        )
    axes.set(xlabel="training images shown as the class", ylabel="recall (%)")
    return figure


def _name(axes: Axes, names: Sequence[str], x: NDArray[np.float64], y: NDArray[np.float64], size: float = 7) -> None:
    """Write the name of each point near it where it covers neither a mark nor another name, with a line if it is not near.

    A name for which there is no room is left out.

    Args:
        x: of each point, (K,).
        y: of its marks, of which the uppermost is named, (K, M).
    """
    window = axes.get_window_extent()
    per = axes.figure.dpi / 72  # pixels of a point

    def place(across: float, up: float) -> tuple[float, float]:
        at = (axes.transData.transform((across, up)) - (window.x0, window.y0)) / per
        return float(at[0]), float(at[1])

    dots = [place(across, up) for across, line in zip(x, y, strict=True) for up in line if up == up]
    taken = [(a - 3, u - 3, a + 3, u + 3) for a, u in dots]
    steps = [
        (0, 8),
        (0, -8),
        *((r * side, r * up) for r in (14, 22, 32, 44) for up in (0.6, -0.6, 0) for side in (1, -1)),
    ]
    for across, line, label in zip(x, y, shorts(names, 14), strict=True):
        if np.isnan(line).all():
            continue
        top = float(np.nanmax(line))
        (a, u), wide = place(across, top), _long(label, size)
        for aside, up in steps:
            ha = "center" if not aside else "left" if aside > 0 else "right"
            start = a + aside - {"center": wide / 2, "left": 0, "right": wide}[ha]
            box = (start, u + up - size / 2, start + wide, u + up + size / 2)
            if box[0] < 0 or box[2] > window.width / per + 8 or box[1] < 0 or box[3] > window.height / per + 6:
                continue
            if any(box[0] < t[2] and t[0] < box[2] and box[1] < t[3] and t[1] < box[3] for t in taken):
                continue
            taken.append(box)
            leader = {"arrowstyle": "-", "color": FAINT, "lw": 0.5, "shrinkA": 0, "shrinkB": 2} if aside else None
            axes.annotate(
                label, (across, top), (aside, up), textcoords="offset points", ha=ha, va="center", fontsize=size,
                arrowprops=leader,
            )  # fmt: skip
            break


def _plain(axes: Axes, whole: bool = False) -> None:
    """Ordinary numbers along a logarithmic axis, a few of them; whole ones if there are no others."""
    low, high = axes.get_xlim()
    round_ = [n * 10.0**power for power in range(-4, 9) for n in (1, 2, 5) if low <= n * 10.0**power <= high]
    round_ = [tick for tick in round_ if tick >= 1 or not whole]
    ticks = round_ if len(round_) > 1 else MaxNLocator(4, integer=whole).tick_values(low, high)
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in ticks[:: -(-len(ticks) // 7)] if low <= tick <= high]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


@rc_context(PANEL)
def cost(table: pd.DataFrame, marked: Mapping[str, str]) -> Figure:
    """Accuracy by seconds on a logarithmic axis; the names in a column, the most accurate on top, a line to each.

    Args:
        table: a row per method: seconds, accuracy.
        marked: the colours of methods that stand out.
    """
    table = table.sort_values("accuracy", ascending=False, kind="stable")
    names = shorts(table.index)
    column = _room(names, 7.5)
    figure, axes = _framed(2.75 + column, max(2.9, 0.62 + 0.155 * len(table)), 0.45, right=column + 0.3)
    share = 100 * table["accuracy"].astype(float)
    # A method that failed must not press the others together: it lies on the edge, with its number.
    floor = share.quantile(0.25) - 3 * (share.max() - share.quantile(0.25))
    names = [n if v >= floor else f"{n}, {v:.1f}" for n, v in zip(names, share, strict=True)]
    share = share.where(
        share >= floor, share[share >= floor].min() - 0.06 * (share.max() - share[share >= floor].min())
    )
    for (method, line), up, low_ in zip(table.iterrows(), share, 100 * table["accuracy"] < floor, strict=True):
        colour = marked.get(str(method), MUTED)
        axes.plot(line["seconds"], up, "v" if low_ else "o", color=colour, ms=5, zorder=3)
    axes.set_xscale("log")
    low, high = table["seconds"].min(), table["seconds"].max()
    axes.set_xlim(low / 1.25, high * 1.25)
    axes.margins(y=0.06)
    _plain(axes)
    bottom, top = axes.get_ylim()
    places = _apart((share - bottom) / (top - bottom), 0.155 / (figure.get_size_inches()[1] - 0.52))
    width = figure.get_size_inches()[0] - 0.45 - column - 0.3
    for name, place, up, (method, line) in zip(names, places, share, table.iterrows(), strict=True):
        colour = marked.get(str(method), FAINT)
        end = (1 + 0.25 / width, place)
        axes.annotate(
            "", (line["seconds"], up), end, textcoords="axes fraction", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.6, "shrinkA": 0, "shrinkB": 2},
        )  # fmt: skip
        weight = "bold" if str(method) in marked else "normal"
        at = end[0] + 0.04 / width
        axes.text(at, place, name, transform=axes.transAxes, va="center", weight=weight, fontsize=7.5)
    axes.set(xlabel="seconds of a run, the teacher's included", ylabel="accuracy (%)")
    return figure


def _apart(wanted: "pd.Series[float]", gap: float) -> NDArray[np.float64]:
    """Places from 1 down to 0 near those that are wanted, in their order, at least a gap apart as far as there is room.

    >>> _apart(pd.Series([0.9, 0.9, 0.1]), 0.2).round(2).tolist()
    [0.9, 0.7, 0.1]
    """
    places = np.minimum(wanted.to_numpy(dtype=float), 1)
    gap = min(gap, 1 / max(1, len(places) - 1))
    for i in range(1, len(places)):
        places[i] = min(places[i], places[i - 1] - gap)
    for i in range(len(places) - 1, -1, -1):  # what was pushed out below pushes back
        places[i] = max(places[i], 0 if i == len(places) - 1 else places[i + 1] + gap)
    return places
