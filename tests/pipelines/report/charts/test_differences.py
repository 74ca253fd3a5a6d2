"""Charts of differences by method and by class."""

import numpy as np
import pandas as pd
import pytest

from pipelines.report.charts.differences import plot_class_difference_grid, plot_class_differences, plot_forest
from pipelines.report.charts.style import BETTER_COLOUR
from tests.pipelines.report.charts.figures import figure_texts, save_png

NAMES = ["süß, sauer", "$50$ % \\frac", "a name that is far too long to fit next to an axis"]


def intervals(axes):
    return [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2 and line.get_marker() == "None"][:-1]


def test_bars_are_sorted_with_their_intervals_and_without_classes_that_have_no_difference():
    table = pd.DataFrame(
        {"class": ["a", "b", "c", "d"], "difference": [-0.1, 0.2, np.nan, 0.0], "low": -0.3, "high": 0.25}
    )
    (axes,) = plot_class_differences(table).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "d", "a"]
    np.testing.assert_allclose([bar.get_width() for bar in axes.patches], [20, 0, -10])
    assert axes.patches[0].get_facecolor() != axes.patches[2].get_facecolor()
    (lines,) = axes.collections
    np.testing.assert_allclose([segment[:, 0] for segment in lines.get_segments()], [[-30, 25]] * 3)
    assert axes.get_ylim()[0] > axes.get_ylim()[1], "the largest on top"


def test_bars_of_a_hundred_classes_have_a_name_each():
    table = pd.DataFrame({"class": [f"class {n}" for n in range(100)], "difference": 0.1, "low": 0.0, "high": 0.2})
    figure = plot_class_differences(table)
    assert len({text for text in figure_texts(figure) if text.startswith("class ")}) == 100
    assert figure.get_size_inches()[1] / 100 > 7 / 72, "no lower than its letters"


def test_a_method_that_failed_is_written_as_a_number():
    table = pd.DataFrame(
        {"difference": [0.01, -0.01, 0.02, -0.5], "low": [0.0, -0.02, 0.01, -0.6], "high": [0.02, 0.0, 0.03, -0.4]},
        index=["a", "b", "c", "failed"],
    ).assign(verdict=["no difference shown", "no difference shown", "better", "worse"])
    (axes,) = plot_forest(table).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["c", "a", "b", "failed"]
    assert axes.get_xlim()[0] > -20
    assert [text.get_text() for text in axes.texts] == ["◂ −50.0 (−60.0 to −40.0)"]
    full = [line.get_markerfacecolor() for line in axes.lines if line.get_marker() in "Do"]
    assert full == [BETTER_COLOUR, "#ffffff", "#ffffff"], "full where a verdict is given"


def test_a_single_seed_is_drawn_without_intervals():
    table = pd.DataFrame({"difference": [0.01], "low": np.nan, "high": np.nan, "verdict": "too few seeds"}, index=["a"])
    low, high = plot_forest(table, 0.02).axes[0].get_xlim()
    assert low < 0 < 1 < 2 < high, "and so is the broken line"
    for difference in (0.01, -0.3, 0.0):  # the ring is whole: its middle is farther from the edge than half of it
        axes = plot_forest(table.assign(difference=difference)).axes[0]
        (ring,) = [line for line in axes.lines if line.get_marker() == "o"]
        at = axes.transData.transform((ring.get_xdata()[0], 0))[0] * 72 / axes.figure.dpi
        box = axes.get_window_extent()
        edges = np.array([box.x0, box.x1]) * 72 / axes.figure.dpi
        assert np.abs(edges - at).min() > 4


def test_the_axis_contains_the_intervals():
    table = pd.DataFrame(
        {"difference": [0.001, -0.002, 0.0], "low": [-0.03, -0.035, -0.031], "high": [0.032, 0.031, 0.031]},
        index=[*"abc"],
    ).assign(verdict="no difference shown")
    (axes,) = plot_forest(table).axes
    low, high = axes.get_xlim()
    assert low < -3.5
    assert high > 3.2
    assert not axes.texts
    np.testing.assert_allclose(sorted(span[0] for span in intervals(axes)), [-3.5, -3.1, -3.0])


def test_an_interval_that_goes_beyond_the_axis_ends_in_an_arrow_with_its_number():
    table = pd.DataFrame(
        {"difference": [0.02, -0.03, 0.01], "low": [-3.8, -0.05, 0.0], "high": [3.84, -0.01, np.nan]}, index=[*"abc"]
    ).assign(verdict="too few seeds")
    (axes,) = plot_forest(table).axes
    low, high = axes.get_xlim()
    assert -40 < low < -5
    assert 4 < high < 40
    assert [text.get_text() for text in axes.texts] == ["−380.0", "384.0"]
    assert [line.get_marker() for line in axes.lines if line.get_marker() in "<>"] == ["<", ">"]
    assert all(
        low <= x <= high for line in axes.lines for x in line.get_xdata() if line is not axes.lines[-1] and x == x
    )


@pytest.mark.parametrize(("size", "most"), [(0.75, 100), (0.1, 30), (0.002, 5)])
def test_bars_are_legible_next_to_intervals_of_hundreds_of_points(size, most):
    table = pd.DataFrame({"class": ["a", "b", "c"], "difference": [size, 0.0, -size / 2], "low": -6.85, "high": 5.85})
    table.loc[1, ["low", "high"]] = np.nan
    (axes,) = plot_class_differences(table).axes
    low, high = axes.get_xlim()
    assert -1.11 * most < low < -most
    assert most < high < 1.11 * most
    arrows = {line.get_marker(): [*line.get_ydata()] for line in axes.lines if line.get_marker() in "<>"}
    assert arrows == {"<": [0, 2], ">": [0, 2]}
    spans = [segment[:, 0] for segment in axes.collections[0].get_segments() if len(segment)]
    assert np.nanmin(spans) == -most
    assert np.nanmax(spans) == most


def test_the_grid_shows_differences_in_points_with_the_first_class_at_the_top(tmp_path):
    table = pd.DataFrame({"baseline recall": [0.5, 0.6, 0.7], "hinton - baseline": [0.1, -0.2, np.nan]}, index=NAMES)
    (axes,) = save_png(plot_class_difference_grid(table, table.abs() / 10, "noise0.4"), tmp_path / "p.png").axes
    bars = list(axes.patches)
    np.testing.assert_allclose([bar.get_width() for bar in bars], [10, -20, np.nan])
    assert [bar.get_facecolor() == bars[0].get_facecolor() for bar in bars][:2] == [True, False]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]


def test_the_grid_shows_recalls_without_a_baseline(tmp_path):
    table = pd.DataFrame({"hinton recall": [0.5], "dml recall": [0.6]}, index=["a"])
    assert len(save_png(plot_class_difference_grid(table), tmp_path / "p.png").axes) == 2


def test_the_grid_of_a_thousand_classes_shows_those_that_differ_most():
    table = pd.DataFrame({"hinton - baseline": np.linspace(-0.3, 0.2, 1000)}, index=[f"class {n}" for n in range(1000)])
    figure = plot_class_difference_grid(table, table.abs() / 10, "noise0.4")
    (axes,) = figure.axes
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert shown == [f"class {n}" for n in range(120)], "those below 0 are larger"
    assert len(axes.patches) == 120
    assert figure.get_suptitle() == "noise0.4\nthe 120 of 1000 classes in which methods differ most"
