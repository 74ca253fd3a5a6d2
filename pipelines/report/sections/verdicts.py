"""The section on differences in the headline metric, and what they show."""

from dataclasses import replace

import pandas as pd

from pipelines.report.charts.differences import plot_forest
from pipelines.report.formatting import format_count, format_interval, format_points, join_first, typeset
from pipelines.report.section import Picture, Section
from pipelines.report.verdict_table import verdict_table
from robustkd.study import verdict_notes
from robustkd.study.comparison import Comparison, hide_uninformative_intervals
from robustkd.study.conclusions import verdict_rule
from robustkd.study.results import BASELINE

VERDICT_TABLE_KEYS = (
    "method",
    "difference",
    "interval",
    "seeds_interval",
    "verdict",
    "p_holm",
    "p",
    "p_sign",
    "detectable",
)


def build_verdict_section(comparison: Comparison) -> Section | None:
    """Build the section; None where nothing is compared."""
    table = verdict_table(comparison, sort=True)
    if table is None:
        return None
    verdicts = hide_uninformative_intervals(comparison.verdicts)
    uneven = verdicts["n"].nunique() > 1
    several = verdicts["reference"].nunique() > 1
    note = "Points of balanced accuracy at the last epoch, paired seed by seed"
    note += "." if uneven else f": {format_count(int(verdicts['n'].iloc[0]), 'pair')} each."
    optional = [*(["pairs"] if uneven else []), "difference_stopped", "difference_early", "difference_plain"]
    columns = [*VERDICT_TABLE_KEYS, *optional, *(["reference"] if several else [])]
    known = verdicts[verdicts["difference"].notna()].sort_values("difference", ascending=False)
    return Section(
        "verdicts",
        "Which methods differ",
        pictures=[_picture_differences(known, _stopped_difference(verdicts))] if len(known) else [],
        tables=[replace(table.select(columns), note=note)],
        notes=verdict_rule(comparison),
        side_by_side=True,
    )


def _stopped_difference(verdicts: pd.DataFrame) -> float | None:
    """Return the difference of the baseline, stopped early, where it is the reference of all methods."""
    if not (verdicts["reference"] == BASELINE).all():
        return None
    shift = (verdicts["difference"] - verdicts["difference_stopped"]).dropna().astype(float)
    return float(shift.mean()) if len(shift) else None


def _picture_differences(verdicts: pd.DataFrame, stopped: float | None) -> Picture:
    """Picture the differences with their intervals.

    Args:
        verdicts: those with a difference, the largest first.
    """
    descriptions = [
        f"{name} {typeset(format_points(line['difference']))} {typeset(format_interval(line['low'], line['high']))},"
        f" {line['verdict']}"
        for name, line in verdicts.iterrows()
    ]
    over = " over seeds and test images" if verdict_notes.counts_images(verdicts) else ""
    interval = f", with its 95 % interval{over}" if verdicts["low"].notna().any() else ""
    caption = f"Difference from the baseline{interval}; filled markers where there is a verdict."
    caption += " Dashed line: the baseline, stopped early." if stopped is not None else ""
    alt = f"Differences in balanced accuracy in points, with 95 % intervals: {join_first(descriptions, 12)}."
    title = "Balanced accuracy against the baseline"
    return Picture("difference", title, plot_forest(verdicts, stopped), alt, caption)
