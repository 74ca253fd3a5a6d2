"""The section on what runs cost, and how accurate they are for it."""

from dataclasses import replace

import pandas as pd

from pipelines.report.charts.costs import plot_costs
from pipelines.report.charts.style import BETTER_COLOUR, INK
from pipelines.report.cost_table import cost_table
from pipelines.report.examples import Examples
from pipelines.report.formatting import format_value
from pipelines.report.row_labels import mark_oracle
from pipelines.report.section import Picture, Section
from robustkd.study.comparison import Comparison
from robustkd.study.results import TEACHER_ROWS

COST_TABLE_KEYS = (
    *("method", "seconds", "teacher_seconds", "cost", "epochs", "images_per_second", "peak_memory"),
    *("parameters", "macs", "cpu_image_ms", "cpu_batch_ms", "device_image_ms", "device_batch_ms", "images"),
)
NOTE = "Means over the seeds. Time depends on the hardware and its load. Latency on the CPU is that of one thread."


def build_cost_section(comparison: Comparison, examples: Examples) -> Section | None:
    """Build the section; None where no costs are known."""
    table = cost_table(comparison)
    if table is None:
        return None
    times = _accuracy_by_seconds(comparison)
    pictures = [_picture_costs(times, examples)] if len(times) else []
    return Section(
        "cost",
        "Cost",
        pictures=pictures,
        tables=[replace(table.select(COST_TABLE_KEYS), note=f"{NOTE} {table.note}".strip())],
    )


def _accuracy_by_seconds(comparison: Comparison) -> pd.DataFrame:
    """Return seconds, the teacher's included, and accuracy of each method that has both."""
    costs = comparison.costs.apply(pd.to_numeric, errors="coerce")
    seconds = costs["seconds"] + costs["teacher_seconds"].fillna(0)
    accuracy = comparison.summary["accuracy_mean"].reindex(costs.index)
    table = pd.DataFrame({"seconds": seconds, "accuracy": accuracy}).dropna()
    shown = table[(table["seconds"] > 0) & ~table.index.isin(TEACHER_ROWS)]
    return shown.rename(index=lambda name: mark_oracle(str(name), comparison.record.oracles))


def _picture_costs(times: pd.DataFrame, examples: Examples) -> Picture:
    """Picture accuracy by seconds."""
    highlighted = {name: INK if name == examples.reference else BETTER_COLOUR for name in examples.pair}
    extremes = {
        "cheapest": str(times["seconds"].idxmin()),
        "most expensive": str(times["seconds"].idxmax()),
        "most accurate": str(times["accuracy"].idxmax()),
    }
    descriptions = [
        f"{extreme} {name}, {times['seconds'][name]:.3g} s, {format_value(times['accuracy'][name])} %"
        for extreme, name in extremes.items()
    ]
    alt = (
        f"Test accuracy by seconds of a run, the teacher's training included, {len(times)} methods:"
        f" {'; '.join(descriptions)}."
    )
    caption = "Training time of a run, with its teacher's for methods that need one."
    return Picture("cost", "Accuracy by cost", plot_costs(times, highlighted), alt, caption)
