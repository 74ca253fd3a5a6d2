"""The reliability diagram."""

from pipelines.report.charts.reliability import plot_reliability
from pipelines.report.charts.style import BETTER_COLOUR
from robustkd.evaluation.results import ReliabilityBin


def test_empty_bins_are_not_drawn():
    bins = [
        ReliabilityBin(low=0.0, high=0.5, count=0, confidence=None, accuracy=None),
        ReliabilityBin(low=0.5, high=1.0, count=4, confidence=0.75, accuracy=0.5),
    ]
    (axes,) = plot_reliability(bins, BETTER_COLOUR).axes
    assert [round(bar.get_height(), 1) for bar in axes.patches] == [50.0, 12.0]
    (disc,) = [line for line in axes.lines if line.get_marker() == "o"]
    assert (disc.get_xdata()[0], disc.get_ydata()[0]) == (75, 50)
