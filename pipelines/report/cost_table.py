"""The table of what a run of each method costs."""

import pandas as pd

from pipelines.report.formatting import format_quantity
from pipelines.report.row_labels import label_row
from pipelines.report.table import METHOD_COLUMN, Cell, Column, Row, Table, number_cell
from robustkd.study.comparison import Comparison
from robustkd.study.results import TEACHER_ROWS

COST_COLUMNS = {
    "parameters": "parameters",
    "macs": "MACs of an image",
    "images": "images seen",
    "seconds": "seconds",
    "teacher_seconds": "teacher's seconds",
    "images_per_second": "images per second",
    "peak_memory": "peak memory, bytes",
}


def cost_table(comparison: Comparison) -> Table | None:
    """Build the table of costs, means over the seeds; None where nothing was measured."""
    costs = comparison.costs.apply(pd.to_numeric, errors="coerce") if len(comparison.costs) else comparison.costs
    measured = [name for name in COST_COLUMNS if name in costs and costs[name].notna().any()]
    if not measured:
        return None
    columns = [METHOD_COLUMN, *(Column(name, COST_COLUMNS[name]) for name in measured)]
    rows = [
        Row(
            [
                Cell(label_row(method, comparison.record)),
                *(number_cell(format_quantity(line[name]), line[name]) for name in measured),
            ],
            muted=method in TEACHER_ROWS,
        )
        for method, line in costs.iterrows()
    ]
    return Table("what a run costs", columns, rows)
