"""Names next to axes: short, and different from one another."""

from itertools import takewhile
from unittest.mock import patch

import numpy as np
import pandas as pd

from pipelines.report.charts import short_names
from pipelines.report.charts.costs import plot_costs
from pipelines.report.charts.differences import plot_class_differences, plot_forest
from pipelines.report.charts.epochs import plot_accuracy_curves
from pipelines.report.charts.matrices import plot_matrix
from pipelines.report.charts.short_names import shorten_distinctly
from tests.pipelines.report.charts.figures import figure_texts


def test_short_names_are_distinct_in_every_chart():
    long = ["hinton(alpha=0.7, temperature=2)", "hinton(alpha=0.7, temperature=2)+balanced"]
    table = pd.DataFrame({"difference": [0.1, 0.2], "low": 0.0, "high": 0.3, "verdict": "better"}, index=long)
    for figure in (
        plot_forest(table),
        plot_class_differences(table.rename_axis("class").reset_index()),
        plot_matrix(np.zeros((2, 2)), long, long, ("", "")),
        plot_costs(pd.DataFrame({"seconds": [1, 2], "accuracy": [0.5, 0.6]}, index=long), {}),
        plot_accuracy_curves(pd.DataFrame({"method": long, "seed": 0, "epoch": 1, "accuracy": 0.5})),
    ):
        labels = [text for text in figure_texts(figure) if text.startswith("hinton")]
        assert len(labels) >= 2
        assert len({*labels}) == 2
        assert max(map(len, labels)) <= 34


def test_short_names_have_at_most_the_given_length_and_are_distinct():
    random = np.random.default_rng(0)
    for _ in range(30):
        middle = {"".join(random.choice([*"ab"], 4)) for _ in range(9)}
        before, after = "x" * random.integers(0, 40), "y" * random.integers(0, 40)
        names = [before + text + after for text in sorted(middle)]
        found = shorten_distinctly([*names, *names], 18)
        assert found[: len(names)] == found[len(names) :]
        assert len({*found}) == len(names)
        assert max(map(len, found)) <= 18
        assert all(cut == name for cut, name in zip(found, names, strict=False) if len(name) <= 18)


def test_each_of_many_long_names_is_compared_with_its_neighbours_only():
    random = np.random.default_rng(0)
    names = ["".join(random.choice([*"ab"], 40)) for _ in range(200)]

    def in_common(one: str, other: str) -> int:
        return len([*takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=True))])

    expected = {name: max(in_common(name, other) for other in names if other != name) for name in names}
    with patch.object(short_names, "_common_prefix_length", wraps=short_names._common_prefix_length) as compared:
        assert short_names._common_prefixes(names) == expected
    assert compared.call_count == 199
