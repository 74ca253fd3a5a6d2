"""The chart of accuracy by cost."""

import numpy as np
import pandas as pd

from pipelines.report.charts.costs import plot_costs, spread_apart
from pipelines.report.charts.style import INK


def test_names_keep_their_order_and_distance():
    random = np.random.default_rng(0)
    for _ in range(50):
        wanted = pd.Series(np.sort(random.uniform(0, 1, random.integers(1, 30)))[::-1])
        places = spread_apart(wanted, 0.03)
        assert (np.diff(places) <= -0.03 + 1e-9).all()
        assert places.max() <= 1 + 1e-9
        assert places.min() >= -1e-9


def test_the_axis_of_costs_has_round_numbers():
    table = pd.DataFrame({"seconds": [3.0, 700.0], "accuracy": [0.9, 0.95]}, index=["a", "b"])
    figure = plot_costs(table, {"a": INK})
    assert [f"{tick:g}" for tick in figure.axes[0].get_xticks()] == ["5", "10", "20", "50", "100", "200", "500"]
    alone = plot_costs(table.iloc[:1], {})
    assert len(alone.axes[0].get_xticks()) > 1
