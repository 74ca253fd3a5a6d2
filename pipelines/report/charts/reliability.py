"""The reliability diagram: accuracy by confidence."""

from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.figure import Figure

from pipelines.report.charts.axes import PANEL_LEFT, panel_axes
from pipelines.report.charts.style import INK, MUTED, PANEL_STYLE, WORSE_COLOUR
from robustkd.evaluation.results import ReliabilityBin


@rc_context(PANEL_STYLE)
def plot_reliability(bins: Sequence[ReliabilityBin], colour: str) -> Figure:
    """Plot the accuracy of each bin as a bar, its gap to the confidence as a line, and the number of its rows as a low bar."""
    figure, axes = panel_axes(2.9, 2.7, PANEL_LEFT)
    largest = max(1, *(each.count for each in bins))
    axes.plot([0, 100], [0, 100], color=MUTED, lw=0.9, ls=(0, (4, 2)))
    for each in bins:
        if each.count:
            low, width = 100 * each.low, 100 * (each.high - each.low)
            accuracy, confidence = 100 * (each.accuracy or 0.0), 100 * (each.confidence or 0.0)
            axes.bar(low, accuracy, width, align="edge", color=colour, alpha=0.3, lw=0)
            axes.bar(low, 12 * each.count / largest, width, align="edge", color=INK, alpha=0.5, lw=0)
            axes.plot([confidence, confidence], [confidence, accuracy], color=WORSE_COLOUR, lw=1)
            axes.plot(confidence, accuracy, "o", color=colour, ms=3.5)
    axes.set(xlim=(0, 100), ylim=(0, 101), xlabel="confidence (%)", ylabel="accuracy (%)")
    axes.set_xticks(range(0, 101, 20))
    axes.set_yticks(range(0, 101, 20))
    return figure
