"""The chart of a scenario."""

import numpy as np
import pandas as pd
import pytest

from pipelines.report.charts.scenario_overview import plot_scenario
from tests.pipelines.report.charts.figures import save_png

NAMES = ["süß, sauer", "$50$ % \\frac", "a name that is far too long to fit next to an axis"]


def account(names, foreign=0):
    counts = np.arange(1, len(names) + 1)
    lines = {"before": 3 * counts, "clean": counts, "corrupted": counts, "foreign": foreign * counts}
    return pd.DataFrame(lines, index=names)


def test_a_scenario_is_drawn_as_class_sizes_a_matrix_and_samples(tmp_path):
    images = [np.full((1, 4, 4), 9 * number, np.uint8) for number in range(11)]
    samples = [(image, "foreign" if image.any() else "7", "2") for image in images]
    figure = save_png(plot_scenario(account(NAMES, 1), np.eye(3), samples, "$n$ [b]"), tmp_path / "s.png")
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


def test_a_scenario_that_corrupts_nothing_has_no_samples_and_no_corrupted_bars(tmp_path):
    table = account(NAMES).assign(corrupted=0)
    bars, _, _ = save_png(plot_scenario(table, np.eye(3), []), tmp_path / "s.png").axes
    assert [box.get_label() for box in bars.containers] == ["before", "shown, clean"]


@pytest.mark.parametrize(("classes", "kind"), [(3, "svg"), (3, "pdf"), (100, "png")])
def test_a_scenario_of_many_classes_is_drawn_in_any_file_format(classes, kind, tmp_path):
    names = [f"Größe {number} $x_1$ of a rather long name" for number in range(classes)]
    sample = (np.zeros((3, 4, 4), np.uint8), names[0], names[1])
    figure = plot_scenario(account(names), np.eye(classes), [sample] * 24, "t")
    figure.savefig(tmp_path / f"s.{kind}")
    assert (tmp_path / f"s.{kind}").stat().st_size > 5000
    assert max(figure.get_size_inches()) < 40
