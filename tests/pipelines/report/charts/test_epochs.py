"""Charts of metrics by epoch."""

import numpy as np
import pandas as pd

from pipelines.report.charts.epochs import plot_accuracy_curves, plot_epochs
from pipelines.report.charts.style import FAINT, INK, PANEL_LINES, panel_line_styles
from tests.pipelines.report.charts.figures import save_png


def test_selected_methods_have_their_own_lines_and_the_others_are_in_the_background():
    rows = [(m, s, e, (e + s) / 10) for m in ("a", "b", "c") for s in (0, 1) for e in (1, 2)]
    table = pd.DataFrame(rows, columns=["method", "seed", "epoch", "accuracy"])
    (axes,) = plot_epochs(table, "accuracy", ["b", "a"], (1.0, 0.5)).axes
    colours = [line.get_color() for line in axes.lines]
    assert colours == [FAINT, PANEL_LINES[0][0], INK, INK]
    np.testing.assert_allclose(axes.lines[2].get_ydata(), [15, 25])
    assert len({str(look) for look in panel_line_styles(6)}) == 6


def test_a_run_of_one_epoch_is_visible_and_no_axis_exceeds_100_per_cent():
    rows = [(m, s, 1, 1.0 - 0.02 * s) for m in ("a", "b", "c") for s in (0, 1)]
    table = pd.DataFrame(rows, columns=["method", "seed", "epoch", "accuracy"])
    for figure in (plot_epochs(table, "accuracy", ["a", "b"], (1.0, 1.0)), plot_accuracy_curves(table)):
        (axes,) = figure.axes
        assert all(line.get_marker() in ("o", "D") for line in axes.lines)
        assert [tick for tick in axes.get_xticks() if axes.get_xlim()[0] <= tick <= axes.get_xlim()[1]] == [1]
        low, high = axes.get_ylim()
        assert 100 < high < 101, "room for the line itself"
        assert max(tick for tick in axes.get_yticks() if low <= tick <= high) <= 100
        for band in axes.collections:
            assert np.max([path.vertices[:, 1].max() for path in band.get_paths()]) <= 100


def test_accuracy_curves_are_means_over_seeds_with_a_line_per_method(tmp_path):
    rows = [
        {"method": m, "seed": s, "epoch": e, "accuracy": (e + s) / 10}
        for m in "abcdefghij"
        for s in (0, 1)
        for e in (1, 2)
    ]
    axes = save_png(plot_accuracy_curves(pd.DataFrame(rows)), tmp_path / "k.png").axes[0]
    assert [line.get_label() for line in axes.lines] == list("abcdefghij")
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [15, 25])
    looks = {(line.get_color(), line.get_linestyle()) for line in axes.lines}
    assert len(looks) == 10


def test_accuracy_curves_of_one_seed_or_of_no_runs_are_drawn(tmp_path):
    table = pd.DataFrame({"method": ["a"], "seed": [0], "epoch": [1], "accuracy": [0.5]})
    save_png(plot_accuracy_curves(table), tmp_path / "k.png")
    save_png(plot_accuracy_curves(table.iloc[:0]), tmp_path / "k.png")
