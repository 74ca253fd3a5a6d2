"""Axes that several charts share: margins, rows of names, whole epochs, per cent, logarithms."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

PANEL_WIDTH = 3.6  # inches of a chart in the report
PANEL_LEFT = 0.52  # inches left of the axes, for numbers up to 100 and a label
MAX_NAMES = 120  # next to an axis: more would be illegible, and each is a text to measure and to draw


def panel_axes(
    width: float, height: float, left: float, bottom: float = 0.42, right: float = 0.12
) -> tuple[Figure, Axes]:
    """Return a figure and its axes; all lengths in inches."""
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + 0.1) / height))
    return figure, axes


def named_places(count: int) -> range:
    """Return which of some rows or columns have a name next to the axis: all, or some that are evenly spaced.

    >>> named_places(3), named_places(1000)
    (range(0, 3), range(0, 1000, 9))
    """
    return range(0, count, max(1, -(-count // MAX_NAMES)))


def name_rows(axes: Axes, names: Sequence[str], size: float) -> None:
    """Name the rows of a chart, the first at the top."""
    axes.set_yticks(range(len(names)), names, fontsize=size)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def limit_to_percent(axes: Axes) -> None:
    """Limit the vertical axis to 0 and 100, with room for a line at either end."""
    low, high = axes.get_ylim()
    room = 0.03 * (min(high, 100) - max(low, 0))
    axes.set_ylim(max(low, -room), min(high, 100 + room))


def set_epoch_ticks(axes: Axes, last: float, ticks: int = 6) -> None:
    """Use whole numbers on an axis of epochs, with room around a single one."""
    axes.xaxis.set_major_locator(MaxNLocator(ticks, integer=True, min_n_ticks=1))
    if last <= 1:
        axes.set_xlim(0.5, 1.5)


def set_log_ticks(axes: Axes, whole: bool = False) -> None:
    """Use a few ordinary numbers as the ticks of a logarithmic axis.

    Args:
        whole: only whole numbers, if there are enough.
    """
    low, high = axes.get_xlim()
    rounded = [n * 10.0**power for power in range(-4, 9) for n in (1, 2, 5) if low <= n * 10.0**power <= high]
    rounded = [tick for tick in rounded if tick >= 1 or not whole]
    ticks = rounded if len(rounded) > 1 else MaxNLocator(4, integer=whole).tick_values(low, high)
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in ticks[:: -(-len(ticks) // 7)] if low <= tick <= high]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
