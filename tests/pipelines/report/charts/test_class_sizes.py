"""The chart of recall by class size."""

import numpy as np
import pandas as pd
import pytest

from pipelines.report.charts.class_sizes import plot_class_sizes


def test_class_sizes_of_one_or_two_methods_and_classes_without_recall_are_drawn():
    counts = pd.Series([10.0, 100.0, 40.0], ["a", "b", "c"])
    recalls = {"baseline": pd.Series([0.5, np.nan, 1.0], ["a", "b", "c"])}
    (axes,) = plot_class_sizes(counts, recalls).axes
    assert axes.get_xscale() == "log"
    both = plot_class_sizes(counts / counts, {**recalls, "best": recalls["baseline"]})
    assert both.axes[0].get_xscale() == "linear"


@pytest.mark.parametrize("wide", [1, 30])
def test_names_of_classes_of_one_size_do_not_overlap_and_sizes_are_whole_numbers(wide):
    random = np.random.default_rng(1)
    names = [f"a class {n}" for n in range(10)]
    counts = pd.Series(26 + wide * random.integers(0, 5, 10) / 2, names)
    recalls = {net: pd.Series(random.choice([0, 0.5, 0.75, 1.0], 10), names) for net in ("baseline", "best")}
    figure = plot_class_sizes(counts, recalls)
    (axes,) = figure.axes
    figure.canvas.draw()
    boxes = {text.get_text(): text.get_window_extent() for text in axes.texts}
    assert len(boxes) >= 9
    pairs = [(a, b) for a in boxes for b in boxes if a < b]
    assert not [pair for pair in pairs if boxes[pair[0]].overlaps(boxes[pair[1]])]
    assert all(tick == round(tick) for tick in axes.get_xticks())
    assert max(axes.get_yticks()) == 100
