"""Pictures of a study or a scenario, in one style.

Pure functions from tables to a matplotlib Figure, without pyplot's global state.
"""

import io
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from itertools import zip_longest
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
INK, MUTED, FAINT, RULE = "#1b1c1f", "#5c6068", "#b9bdc5", "#e3e4e8"  # text and lines, from loud to quiet
# What these are called on a page, which has other shades of them for the dark; ink is whatever its text has.
ON_A_PAGE = {
    **dict(zip(COLOURS, ("--blue", "--vermilion", "--green", "--pink", "--sky", "--amber"), strict=False)),
    **{MUTED: "--muted", FAINT: "--faint", RULE: "--rule", "#ffffff": "--paper"},
}
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
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "text.parse_math": False,  # a class may be called '$'
    "svg.fonttype": "none",  # text stays text: small, sharp, and in the page's own letters
    "svg.hashsalt": "robustkd",  # the same picture gives the same file
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


def titled(figure: Figure, title: str, room: float = 0.32) -> Figure:
    """A figure of one panel, made higher by some inches for a title above it."""
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + room)
    (axes,) = figure.axes
    left, bottom, across, up = axes.get_position().bounds
    axes.set_position((left, bottom * height / (height + room), across, up * height / (height + room)))
    size = min(10.0, 72 * (width - 0.2) / (0.6 * max(1, len(title))))
    figure.text(0.1 / width, 1 - 0.08 / (height + room), title, va="top", size=size, weight="bold")
    return figure


@rc_context({**STYLE, "figure.constrained_layout.use": False})  # saving would lay out anew what has its layout
def inline(figure: Figure, name: str, alt: str) -> str:
    """A figure as an SVG element to stand in a page: no background, ink in the page's colour, ids that begin with its name.

    Args:
        name: letters, digits and dashes, unlike any other on the page.
        alt: what is to be seen, for those who cannot.
    """
    written = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = written.getvalue()
    body = text[text.index("</style>") + len("</style>") : text.rindex("</svg>")].removeprefix("\n </defs>")
    referred = {*re.findall(r'<[^>]*(?:url\(|href=")#([\w-]+)', body)}

    def tag(match: re.Match[str]) -> str:
        """A tag of this page: names may hold anything, and stay as they are."""
        made = match[0].replace("xlink:href", "href")
        made = re.sub(r' id="([^"]*)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in referred else "", made)
        made = re.sub(r'(url\(|href=")#', rf"\1#{name}-", made)
        made = re.sub(r"font-family: [^;\"]*;? ?| transform=\"rotate\(-0 [^\"]*\"", "", made)
        made = re.sub(r' d="[^"]*', lambda m: re.sub(r"(\.\d\d)\d+", r"\1", m[0].replace("\n", "")), made)
        for colour, shade in {**ON_A_PAGE, INK: ""}.items():
            made = re.sub(colour, f"var({shade})" if shade else "currentColor", made, flags=re.IGNORECASE)
        return made

    body = re.sub(r">\s+<", "><", re.sub(r"<[^>]*>", tag, body))
    width, height = (72 * side for side in figure.get_size_inches())
    head = (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width / 0.75:.0f}" role="img" aria-label="{escape(alt)}">'
    )
    return f"{head}{body}</svg>"


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
    axes.set_yticks(rows, shorts(table.index), fontsize=8 if k <= 40 else 6)
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
    labels = dict(zip(methods := list(dict.fromkeys(table["method"])), shorts(methods, 34), strict=True))
    for number, (method, lines) in enumerate(table.groupby("method", sort=False)):
        along = lines.groupby("epoch")["accuracy"].agg(["mean", "std"]) * 100
        dash, colour = DASHES[number // len(COLOURS) % len(DASHES)], COLOURS[number % len(COLOURS)]
        point = "o" if len(along) == 1 else None  # a line of one point is none
        axes.plot(along.index, along["mean"], dash, color=colour, lw=1.5, marker=point, label=labels[method])
        low, high = (along["mean"] - along["std"]).clip(lower=0), (along["mean"] + along["std"]).clip(upper=100)
        axes.fill_between(along.index, low, high, color=colour, alpha=0.15, lw=0)
    axes.set(xlabel="epoch", ylabel="test accuracy (%)", title=title)
    if axes.lines:
        epochs(axes, table["epoch"].max(), 9)
        per_cent(axes)
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
    names = shorts(table.index)
    axes.set_yticks(ticks, [names[i] for i in ticks], fontsize=8 if k <= ANNOTATED else 5.5)
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
    every = shorts(names)
    labels, size = [every[i] for i in ticks], 8 if k <= ANNOTATED else 5.5
    axes.set_xticks(ticks, labels, fontsize=size, rotation=90)
    axes.set_yticks(ticks, labels, fontsize=size)
    axes.grid(visible=False)
    for i, j in np.ndindex(k, k) if k <= ANNOTATED else ():
        if counts[i, j]:
            colour = "black" if share[i, j] > 0.5 else "white"
            text = axes.text(j, i, f"{counts[i, j]:.0f}", ha="center", va="center", fontsize=7, color=colour)
            text.set_in_layout(False)  # 400 of them would be measured twice


def shorts(names: Iterable[object], letters: int = 24) -> list[str]:
    """Names that fit beside an axis, each unlike the others: long ones are cut where that still tells them apart.

    >>> shorts(["at", "hinton(alpha=0.7, temperature=2)", "hinton(alpha=0.7, temperature=2)+balanced"])
    ['at', 'hinton(alpha…perature=2)', 'hinton(alpha…2)+balanced']
    >>> shorts(["x(alpha=0.7, temperature=2)+balanced", "x(alpha=0.9, temperature=2)+balanced"])
    ['x(alpha=0.7,…2)+balanced', 'x(alpha=0.9,…2)+balanced']
    """
    texts = [str(name) for name in names]
    chosen = {text: text for text in texts if len(text) <= letters}
    long = [text for text in dict.fromkeys(texts) if text not in chosen]
    # The cut lies in the middle, or as near to it as it may without two names becoming one.
    heads = sorted(range(1, letters - 1), key=lambda head: abs(head - letters // 2))
    seen = [Counter(_cut(text, head, letters) for text in long) for head in heads]
    for place, text in enumerate(long, 1):
        cuts = [_cut(text, head, letters) for head in heads]
        alone = [cut for cut, times in zip(cuts, seen, strict=True) if times[cut] == 1]
        same = max((_alike(text, other) for other in long if other != text), default=0)
        start = max(0, same - 2)
        alone.append(f"{text[:4]}…{text[start : start + letters - 6]}…")  # they differ in the middle alone
        alone.append(f"{text[: letters - 1 - len(str(place))]}…{place}")
        taken = {*chosen.values()}
        chosen[text] = next((label for label in alone if label not in taken), text)
    return [chosen[text] for text in texts]


def _alike(one: str, other: str) -> int:
    """How many letters two names begin with alike."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _cut(text: str, head: int, letters: int) -> str:
    """A name with so many letters left of what is cut out."""
    return f"{text[:head]}…{text[len(text) - (letters - 1 - head) :]}"


def per_cent(axes: Axes) -> None:
    """Keep an axis of shares upwards within 0 and 100, but for the room that a line on its edge takes."""
    low, high = axes.get_ylim()
    room = 0.03 * (min(high, 100) - max(low, 0))
    axes.set_ylim(max(low, -room), min(high, 100 + room))


def epochs(axes: Axes, last: float, ticks: int = 6) -> None:
    """An axis of epochs: whole numbers, and room about a single one."""
    axes.xaxis.set_major_locator(MaxNLocator(ticks, integer=True, min_n_ticks=1))
    if last <= 1:
        axes.set_xlim(0.5, 1.5)


def short(name: object, letters: int = 24) -> str:
    """A name that fits beside an axis.

    >>> short("a name that is far too long for a picture")
    'a name that is far too …'
    """
    text = str(name)
    return text if len(text) <= letters else text[: letters - 1] + "…"


@rc_context(STYLE)
def sweep(panels: Sequence[tuple[str, pd.DataFrame, tuple[float, float] | None]], methods: Sequence[str]) -> Figure:
    """Studies side by side: test accuracy by epoch, the mean over seeds, and memorisation beneath where it is known.

    The axis of accuracy begins where the lines are after a quarter of the run: the first steep epochs tell methods least.

    Args:
        panels: title; columns method, seed, epoch, accuracy and maybe memorised, a line per epoch of a run; and the epoch and
            accuracy at which the first of `methods` was stopped early, marked by a star.
        methods: those to draw, in one colour each over all panels.
    """
    across, figures = min(4, len(panels)), ("accuracy", "memorised")
    bands = [panels[start : start + across] for start in range(0, len(panels), across)]
    rows = [(band, name) for band in bands for name in figures if any(name in table for _, table, _ in band)]
    heights = [2.2 if name == "accuracy" else 1.4 for _, name in rows]
    figure = Figure(figsize=(max(1.2 + 2.5 * across, 5.5), 0.7 + sum(heights)))
    grid = figure.subplots(len(rows), across, squeeze=False, height_ratios=heights)
    drawn, floors = {}, dict[Axes, float]()
    labels = dict(zip(methods, shorts(methods, 34), strict=True))
    for place, (band, name) in enumerate(rows):
        for axes, panel in zip_longest(grid[place], band):
            title, table, stopped = panel or ("", pd.DataFrame(), None)
            if name not in table:
                axes.set_axis_off()
                continue
            for number, method in enumerate(methods):
                dash, colour = DASHES[number // len(COLOURS) % len(DASHES)], COLOURS[number % len(COLOURS)]
                along = 100 * table[table["method"] == method].groupby("epoch")[name].mean()
                if len(along):
                    floors[axes] = min(floors.get(axes, 100.0), along[along.index >= along.index.max() / 4].min())
                    point = "o" if len(along) == 1 else None
                    drawn[labels[method]] = axes.plot(along.index, along, dash, color=colour, lw=1.2, marker=point)[0]
            if name == "accuracy":
                axes.set_title(short(title, 34), fontsize=8)
                if stopped is not None:
                    floors[axes] = min(floors.get(axes, 100.0), 100 * stopped[1])
                    at = (stopped[0], 100 * stopped[1])
                    label = f"{methods[0]}, stopped early"
                    drawn[label] = axes.plot(*at, "*", color=COLOURS[0], mec="white", mew=0.5, ms=11, ls="none")[0]
            axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
            top, low = axes.get_ylim()[1], 0.0 if name == "memorised" else floors.get(axes, 0.0)
            axes.set_ylim(bottom=low - 0.1 * (top - low) if low else 0)
        first = next((axes for axes in grid[place] if axes.axison), grid[place, 0])
        first.set_ylabel("test accuracy (%)" if name == "accuracy" else "memorised (%)")
        for axes in grid[place] if place + 1 == len(rows) or rows[place + 1][0] is not band else ():
            axes.set_xlabel("epoch")
    figure.suptitle("mean over seeds", fontsize=8)
    figure.legend(list(drawn.values()), list(drawn), loc="outside lower center", ncols=3)
    return figure
