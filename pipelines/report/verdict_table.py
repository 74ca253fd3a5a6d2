"""The table of verdicts: each method's difference from its reference in the headline metric."""

from typing import Any

import pandas as pd

from pipelines.report.formatting import format_interval, format_p_value, format_points
from pipelines.report.row_labels import mark_oracle
from pipelines.report.table import METHOD_COLUMN, Cell, Column, Row, Table, Tone, number_cell
from robustkd.study import verdict_notes
from robustkd.study.comparison import Comparison, hide_uninformative_intervals
from robustkd.study.conclusions import AS_GIVEN

DECIDED = ("better", "worse", "no difference shown", "identical")
DETAILS = ("p", "p_sign", "pairs", "detectable")  # columns that a page or a description has no room for
TONES: dict[str, Tone] = {"better": "better", "worse": "worse"}  # of a verdict


def verdict_table(comparison: Comparison, sort: bool = False) -> Table | None:
    """Build the table of verdicts; None where nothing is compared.

    Args:
        sort: rows by their difference, the largest first, instead of in the order of the methods.
    """
    verdicts = hide_uninformative_intervals(comparison.verdicts)
    if not len(verdicts):
        return None
    if sort:
        verdicts = verdicts.sort_values("difference", ascending=False, na_position="last")
    optional = _optional_columns(verdicts)
    columns = _columns(verdicts, sort)
    oracles = comparison.record.oracles
    rows = [
        Row(_verdict_cells(mark_oracle(str(method), oracles), line), muted=method in oracles)
        for method, line in verdicts.iterrows()
    ]
    part = {"clean rows": ", clean part", "as given": f" {AS_GIVEN}"}.get(verdicts["labels"].iloc[0], "")
    title = f"what the seeds show: balanced accuracy{part}, differences in points"
    return Table(title, columns, rows).without(*(key for key, shown in optional.items() if not shown))


def _columns(verdicts: pd.DataFrame, sort: bool) -> list[Column]:
    """Return the columns, in the order of the cells."""
    over = "over seeds and test images" if verdict_notes.counts_images(verdicts) else ""
    return [
        METHOD_COLUMN,
        Column("reference", "reference", "text"),
        Column("difference", "difference", order="descending" if sort else "", hint="points of balanced accuracy"),
        Column("interval", "95 % interval", hint=over),
        Column("seeds_interval", "over seeds alone", hint="95 % interval over seeds, on these test images"),
        Column("p_holm", "p, Holm"),
        Column("p", "p"),
        Column("p_sign", "p, sign flip", hint="of a sign-flip test over seeds"),
        Column("verdict", "verdict", "text"),
        Column(
            "detectable", "80 % power", hint="the smallest true difference that is found with 80 % power, in points"
        ),
        Column("pairs", "pairs", hint="seeds that both have"),
        Column("difference_stopped", "from early stopping", hint="last epoch, from the reference stopped early"),
        Column("difference_early", "both stopped early", hint="both stopped early by held-out rows"),
        Column("difference_plain", "from plain baseline"),
    ]


def _optional_columns(verdicts: pd.DataFrame) -> dict[str, bool]:
    """Return whether each column that may be empty is shown."""
    return {
        "seeds_interval": verdict_notes.counts_images(verdicts),  # otherwise it is the interval itself
        "p_sign": bool(verdicts["p_sign"].notna().any()),
        "detectable": bool(verdicts["detectable"].notna().any()),
        # Like with like; the last epoch against the reference stopped early only where nothing else is known.
        "difference_stopped": bool(
            verdicts["difference_stopped"].notna().any() and verdicts["difference_early"].isna().all()
        ),
        "difference_early": bool(verdicts["difference_early"].notna().any()),
        "difference_plain": bool(verdicts["difference_plain"].notna().any()),
    }


def _verdict_cells(label: str, line: "pd.Series[Any]") -> list[Cell]:
    """Return the cells of a labelled row, in the order of the columns."""
    verdict = str(line["verdict"])
    marked = f"{verdict}, as given" if line["labels"] == "as given" and verdict in DECIDED else verdict
    return [
        Cell(label),
        Cell(str(line["reference"])),
        number_cell(format_points(line["difference"]), line["difference"]),
        number_cell(format_interval(line["low"], line["high"]), line["low"]),
        number_cell(format_interval(line["seed_low"], line["seed_high"]), line["seed_low"]),
        number_cell(format_p_value(line["p_holm"]), line["p_holm"]),
        number_cell(format_p_value(line["p"]), line["p"]),
        number_cell(format_p_value(line["p_sign"]), line["p_sign"]),
        Cell(marked, tone=TONES.get(verdict, "")),
        number_cell(format_points(line["detectable"]), line["detectable"]),
        number_cell(str(int(line["n"])), line["n"]),
        number_cell(format_points(line["difference_stopped"]), line["difference_stopped"]),
        number_cell(format_points(line["difference_early"]), line["difference_early"]),
        number_cell(format_points(line["difference_plain"]), line["difference_plain"]),
    ]
