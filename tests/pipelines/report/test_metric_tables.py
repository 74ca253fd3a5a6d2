"""Tables of metrics."""

import pytest

from pipelines.report.metric_tables import class_size_table, performance_table
from tests.pipelines.report.cases import change_last, compare_changed


@pytest.mark.parametrize(
    ("classes", "groups", "titles"),
    [
        (2, {"many": 0.5}, []),
        (5, {"many": 0.5, "head": 0.4, "middle": 0.5, "tail": 0.6}, ["worst three", "worst quarter"]),
        (
            9,
            {"many": 0.5, "head": 0.4, "middle": 0.5, "tail": 0.6},
            ["worst three", "worst quarter", "largest third", "middle third", "smallest third"],
        ),
        (9, {"many": 0.5, "few": 0.4, "head": 0.4, "tail": 0.6}, ["worst three", "worst quarter", "many", "few"]),
    ],
)
def test_no_column_repeats_another(classes: int, groups: dict[str, float], titles: list[str]) -> None:
    compared = compare_changed(
        lambda result: change_last(result, groups=groups), classes=tuple(f"c{n}" for n in range(classes))
    )
    fixed = {"method", "accuracy", "balanced accuracy", "worst class", "macro F1", "seeds"}
    tables = [table for table in (performance_table(compared), class_size_table(compared)) if table is not None]
    headings = [column.title for table in tables for column in table.columns]
    assert [title for title in headings if title not in fixed] == titles
