"""Pictures: drawn without pyplot, whatever the classes are called and however many there are."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from pipelines.report.charts.differences import plot_class_difference_grid
from pipelines.report.charts.epochs import plot_accuracy_curves
from pipelines.report.charts.matrices import plot_confusion
from pipelines.report.charts.output import save_figure
from pipelines.report.charts.scenarios import plot_scenario

ODD = ["süß, sauer", "$50$ % \\frac", "a name that is far too long to stand beside an axis"]


def drawn(figure, path):
    figure.savefig(path)
    assert path.read_bytes().startswith(b"\x89PNG")
    return figure


def test_pyplot_and_its_global_state_are_left_alone():
    modules = "pipelines.report.study_report, pipelines.report.sweep_report, pipelines.report.charts.scenarios"
    code = f"import sys, {modules}; raise SystemExit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_confusion_counts_are_written_and_coloured_by_the_share_of_their_row(tmp_path):
    matrix = pd.DataFrame([[3, 1, 0], [0, 0, 0], [0, 5, 15]], index=ODD, columns=ODD)
    axes = drawn(plot_confusion(matrix, ODD, "hinton"), tmp_path / "c.png").axes[0]
    shares = np.ma.filled(axes.images[0].get_array(), np.nan)
    np.testing.assert_allclose(shares, [[0.75, 0.25, 0], [np.nan] * 3, [0, 0.25, 0.75]])
    assert sorted(text.get_text() for text in axes.texts) == ["1", "15", "3", "5"]


@pytest.mark.parametrize("classes", [21, 100, 250])
def test_confusion_of_many_classes_has_names_but_no_numbers(classes, tmp_path):
    figure = plot_confusion(np.eye(classes), [f"class {i}" for i in range(classes)])
    axes = drawn(figure, tmp_path / "c.png").axes[0]
    assert not axes.texts
    assert min(classes, 80) <= len(axes.get_yticklabels()) <= 120
    assert max(figure.get_size_inches()) < 20


def test_per_class_shows_differences_in_points_first_class_on_top(tmp_path):
    table = pd.DataFrame({"baseline recall": [0.5, 0.6, 0.7], "hinton - baseline": [0.1, -0.2, np.nan]}, index=ODD)
    (axes,) = drawn(plot_class_difference_grid(table, table.abs() / 10, "noise0.4"), tmp_path / "p.png").axes
    bars = list(axes.patches)
    np.testing.assert_allclose([bar.get_width() for bar in bars], [10, -20, np.nan])
    assert [bar.get_facecolor() == bars[0].get_facecolor() for bar in bars][:2] == [True, False]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]


def test_per_class_without_a_baseline_shows_recalls(tmp_path):
    table = pd.DataFrame({"hinton recall": [0.5], "dml recall": [0.6]}, index=["a"])
    assert len(drawn(plot_class_difference_grid(table), tmp_path / "p.png").axes) == 2


def test_curves_are_means_over_seeds_one_line_per_method(tmp_path):
    rows = [
        {"method": m, "seed": s, "epoch": e, "accuracy": (e + s) / 10}
        for m in "abcdefghij"
        for s in (0, 1)
        for e in (1, 2)
    ]
    axes = drawn(plot_accuracy_curves(pd.DataFrame(rows)), tmp_path / "k.png").axes[0]
    assert [line.get_label() for line in axes.lines] == list("abcdefghij")
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [15, 25])
    looks = {(line.get_color(), line.get_linestyle()) for line in axes.lines}
    assert len(looks) == 10


def test_curves_of_one_seed_or_of_nothing_are_drawn_too(tmp_path):
    table = pd.DataFrame({"method": ["a"], "seed": [0], "epoch": [1], "accuracy": [0.5]})
    drawn(plot_accuracy_curves(table), tmp_path / "k.png")
    drawn(plot_accuracy_curves(table.iloc[:0]), tmp_path / "k.png")


def account(names, foreign=0):
    counts = np.arange(1, len(names) + 1)
    lines = {"before": 3 * counts, "clean": counts, "corrupted": counts, "foreign": foreign * counts}
    return pd.DataFrame(lines, index=names)


def test_a_scenario_is_drawn_as_bars_a_matrix_and_a_sheet(tmp_path):
    images = [np.full((1, 4, 4), 9 * number, np.uint8) for number in range(11)]
    samples = [(image, "foreign" if image.any() else "7", "2") for image in images]
    figure = drawn(plot_scenario(account(ODD, 1), np.eye(3), samples, "$n$ [b]"), tmp_path / "s.png")
    bars, matrix, _, *cells = figure.axes
    widths = {box.get_label(): [bar.get_width() for bar in box] for box in bars.containers}
    assert widths == {
        "before": [3, 6, 9],
        "shown, clean": [1, 2, 3],
        "shown, corrupted": [1, 2, 3],
        "shown, foreign": [1, 2, 3],
    }
    assert [bar.get_x() for bar in bars.containers[3]] == [2, 4, 6], "stacked"
    assert (matrix.get_xlabel(), matrix.get_ylabel()) == ("label shown", "label before")
    assert [axes.get_title() for axes in cells if axes.images] == ["7 -> 2"] + ["foreign -> 2"] * 10
    assert [axes.images[0].get_array()[0, 0] for axes in cells[:11]] == [[9 * number] for number in range(11)]


def test_a_scenario_that_corrupts_nothing_has_neither_sheet_nor_red_bars(tmp_path):
    table = account(ODD).assign(corrupted=0)
    bars, _, _ = drawn(plot_scenario(table, np.eye(3), []), tmp_path / "s.png").axes
    assert [box.get_label() for box in bars.containers] == ["before", "shown, clean"]


@pytest.mark.parametrize(("classes", "kind"), [(3, "svg"), (3, "pdf"), (100, "png")])
def test_a_scenario_of_many_classes_in_colour_is_drawn_to_any_kind_of_file(classes, kind, tmp_path):
    names = [f"Größe {number} $x_1$ of a rather long name" for number in range(classes)]
    sample = (np.zeros((3, 4, 4), np.uint8), names[0], names[1])
    figure = plot_scenario(account(names), np.eye(classes), [sample] * 24, "t")
    figure.savefig(tmp_path / f"s.{kind}")
    assert (tmp_path / f"s.{kind}").stat().st_size > 5000
    assert max(figure.get_size_inches()) < 40


def test_names_without_a_letter_here_are_drawn_without_a_warning(tmp_path):
    save_figure(plot_confusion(np.eye(2), ["猫", "🐕"]), tmp_path / "c.png")  # warnings are errors in tests
    assert (tmp_path / "c.png").stat().st_size > 1000
