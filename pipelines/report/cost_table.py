"""The table of what a run of each method costs, and how much of that plain training does not."""

import pandas as pd

from pipelines.report.formatting import format_quantity
from pipelines.report.row_labels import label_row
from pipelines.report.table import METHOD_COLUMN, Cell, Column, Row, Table, number_cell
from robustkd.evaluation.results import LATENCY_BATCH
from robustkd.study.comparison import Comparison
from robustkd.study.results import TEACHER_ROWS

COST_COLUMNS = {
    "parameters": "parameters",
    "macs": "MACs of an image",
    "cpu_image_ms": "ms for an image, CPU",
    "cpu_batch_ms": f"ms for {LATENCY_BATCH} images, CPU",
    "device_image_ms": "ms for an image, device",
    "device_batch_ms": f"ms for {LATENCY_BATCH} images, device",
    "images": "images seen",
    "epochs": "relative epochs",
    "cost": "relative cost",
    "seconds": "seconds",
    "teacher_seconds": "teacher's seconds",
    "images_per_second": "images per second",
    "peak_memory": "peak memory, bytes",
}


def cost_table(comparison: Comparison) -> Table | None:
    """Build the table of costs, means over the seeds; None where nothing was measured."""
    costs = comparison.costs.apply(pd.to_numeric, errors="coerce") if len(comparison.costs) else comparison.costs
    costs = add_relative_costs(costs)
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
    return Table("what a run costs", columns, rows, note=note_epochs(costs))


def add_relative_costs(costs: pd.DataFrame) -> pd.DataFrame:
    """Add the epochs of all phases and the seconds with the teacher's, relative to plain training in the same study.

    Without plain training in the study, nothing is added.
    """
    plain = next((name for name in costs.index if str(name).startswith("baseline")), None)
    if plain is None:
        return costs
    seconds = costs["seconds"] + costs["teacher_seconds"].fillna(0)
    return costs.assign(
        epochs=(costs["images"] / costs["images"][plain]).round(2), cost=(seconds / seconds[plain]).round(2)
    )


def note_epochs(costs: pd.DataFrame) -> str:
    """Return a sentence on the methods that are trained for more epochs than plain training; empty if there are none."""
    if "epochs" not in costs:
        return ""
    more = costs["epochs"][(costs["epochs"] > 1) & ~costs.index.isin(TEACHER_ROWS)]
    if more.empty:
        return ""
    named = ", ".join(f"{name} {epochs:g}" for name, epochs in more.items())
    return (
        f"Epochs of all phases, in multiples of plain training's: {named}. `longer(ratio=R)` is plain training for R times as"
        " many epochs."
    )
