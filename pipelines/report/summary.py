"""The page of a study for a terminal, as text, in Markdown and in LaTeX: tables and sentences, the answer last."""

from collections.abc import Iterable

from pipelines.report.class_tables import class_difference_tables
from pipelines.report.cost_table import cost_table
from pipelines.report.formatting import format_count, format_mean
from pipelines.report.metric_tables import (
    agreement_table,
    class_size_table,
    clean_performance_table,
    describe_undefined_corruptions,
    performance_table,
    probability_table,
    robustness_table,
    truth_table,
)
from pipelines.report.table import Page, Table
from pipelines.report.training_notes import describe_training
from pipelines.report.verdict_table import DETAILS, verdict_table
from robustkd.study import conclusions
from robustkd.study.comparison import Comparison
from robustkd.study.results import MONITORED

OVERFITTING = (  # under label noise
    "Under label noise long training memorises wrong labels, and that alone can make distillation look good."
)


def summarise_study(comparison: Comparison) -> Page:
    """Return the page of a study: caveats first, the answer last, where it is easily found on a terminal."""
    record = comparison.record
    seeds = format_count(record.seeds, "seed")
    parts: list[str | Table] = [*conclusions.test_set_caveats(record)]
    parts.append(f"{record.dataset}, scenario {record.options.scenario}, {seeds}, last epoch, per cent")
    if not len(comparison.summary):
        return [*parts, "No run is finished yet."]
    verdicts = verdict_table(comparison)
    return [
        *parts,
        *_present([performance_table(comparison)], seeds=True),
        *([verdicts.without(*DETAILS)] if verdicts else []),
        *conclusions.verdict_rule(comparison),
        *_present([probability_table(comparison), class_size_table(comparison)]),
        *_present([clean_performance_table(comparison), truth_table(comparison), agreement_table(comparison)]),
        *_present([robustness_table(comparison)]),
        *describe_undefined_corruptions(comparison),
        *_present([cost_table(comparison)]),
        *class_difference_tables(comparison),
        *_describe_progress(comparison),
        *describe_training(comparison),
        "",
        *conclusions.question_and_answer(comparison),
    ]


def _present(tables: Iterable[Table | None], seeds: bool = False) -> list[Table]:
    """Return the tables that there are, without marks of the best, and unless requested without the number of seeds."""
    present = [table.unmarked() for table in tables if table is not None]
    return present if seeds else [table.without("seeds") for table in present]


def _describe_progress(comparison: Comparison) -> list[str]:
    """Describe plain training over the epochs."""
    if not len(comparison.progress):
        return []
    points = ", ".join(f"{at} {format_mean(row['mean'], row['std'])}" for at, row in comparison.progress.iterrows())
    rows = f" on {MONITORED:,} fixed test rows" if comparison.record.resolved.rows_test > MONITORED else ""
    lines = ["", f"plain training along the run (test accuracy{rows}): {points}"]
    return [*lines, *([OVERFITTING] if conclusions.may_have_noisy_training_labels(comparison) else [])]
