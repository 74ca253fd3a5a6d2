"""The section with all metrics, mean and standard deviation over the seeds."""

from pipelines.report.formatting import to_sentence
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
from pipelines.report.section import Section
from robustkd.study.comparison import Comparison


def build_metric_section(comparison: Comparison) -> Section:
    """Build the section."""
    tables = [
        performance_table(comparison),
        class_size_table(comparison),
        clean_performance_table(comparison),
        probability_table(comparison),
        truth_table(comparison),
        agreement_table(comparison),
        robustness_table(comparison),
    ]
    present = [table for table in tables if table is not None]
    lead = "At the last epoch, in per cent where no other unit is given; the best method in bold."
    notes = [] if len(comparison.summary) else ["No run is finished yet."]
    notes += map(to_sentence, describe_undefined_corruptions(comparison))
    return Section("methods", "All metrics", lead if present else "", tables=present, notes=notes)
