"""Tables and their cells."""

import pytest

from pipelines.report.table import number_cell
from tests.pipelines.report.tables import make_table


def test_columns_are_selected_by_their_keys() -> None:
    table = make_table("t", ["name", "x", "y"], [["a", "1", "2"]])
    selected = table.select(["2", "0", "unknown"])
    assert [column.title for column in selected.columns] == ["y", "name"]
    assert [cell.text for cell in selected.rows[0].cells] == ["2", "a"]
    assert table.without("1") == table.select(["0", "2"])


@pytest.mark.parametrize(("value", "text"), [(0.5, "0.5"), (None, ""), (float("nan"), "")])
def test_missing_values_are_sorted_last(value: float | None, text: str) -> None:
    assert number_cell("x", value).sort_value == text
