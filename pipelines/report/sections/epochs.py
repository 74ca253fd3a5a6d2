"""The section on accuracy and memorisation by epoch."""

from typing import NamedTuple

from pipelines.report.charts.epochs import plot_epochs
from pipelines.report.examples import Examples
from pipelines.report.formatting import format_value
from pipelines.report.section import Picture, Section, build_legend
from pipelines.report.summary import OVERFITTING
from robustkd.study.comparison import Comparison, early_stopping_point
from robustkd.study.conclusions import may_have_noisy_training_labels
from robustkd.study.results import MONITORED, TEACHER_ROWS


class EpochMetric(NamedTuple):
    """A metric that is measured after every epoch."""

    title: str
    description: str


EPOCH_METRICS = {
    "accuracy": EpochMetric("Test accuracy", f"On the test set, or on {MONITORED:,} fixed rows of it."),
    "memorised": EpochMetric("Memorised", "Wrong training labels that the net predicts."),
    "recovered": EpochMetric("Recovered", "Wrongly labelled images predicted as their true class."),
}


def build_epoch_section(comparison: Comparison, examples: Examples) -> Section | None:
    """Build the section; None where no epochs are recorded."""
    pictures = [
        _picture_epochs(comparison, examples, column)
        for column in EPOCH_METRICS
        if column in comparison.curves
        and comparison.curves[column].notna().any()
        and {*examples.lines} & {*comparison.curves["method"]}
    ]
    if not pictures:
        return None
    rest = {*comparison.curves["method"]} - {*examples.lines, *TEACHER_ROWS}
    lead = "Mean over the seeds, in a band of one standard deviation" + (
        "; the other methods in grey." if rest else "."
    )
    notes = describe_progress(comparison)
    return Section("epochs", "Over the epochs", lead, pictures, legend=build_legend(examples.lines), notes=notes)


def _picture_epochs(comparison: Comparison, examples: Examples, column: str) -> Picture:
    """Picture a metric by epoch."""
    metric, curves = EPOCH_METRICS[column], comparison.curves
    curves = curves[curves[column].notna() & ~curves["method"].isin(TEACHER_ROWS)]
    mean = curves.groupby(["method", "epoch"])[column].mean()
    descriptions = [
        f"{name} {format_value(mean[name].iloc[0])} % at first, {format_value(mean[name].max())} % at most,"
        f" {format_value(mean[name].iloc[-1])} % in the end"
        for name in examples.lines
        if name in mean.index
    ]
    caption, stop = metric.description, None
    if column == "accuracy" and examples.reference:
        stop = early_stopping_point(comparison, examples.reference)
    if stop:
        caption += f" Diamond: {examples.reference} stopped early, at epoch {stop[0]:.0f} on average."
    alt = f"{metric.title} by epoch, mean over seeds: {'; '.join(descriptions)}."
    return Picture(column, metric.title, plot_epochs(curves, column, examples.lines, stop), alt, caption)


def describe_progress(comparison: Comparison) -> list[str]:
    """Describe plain training over the epochs in a sentence."""
    if not len(comparison.progress):
        return []
    points = ", ".join(f"{format_value(row['mean'])} % at {at}" for at, row in comparison.progress.iterrows())
    return [f"Plain training: {points}." + (f" {OVERFITTING}" if may_have_noisy_training_labels(comparison) else "")]
