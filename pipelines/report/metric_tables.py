"""Tables of metrics: a row per method, a column per metric, mean and standard deviation over the seeds."""

from collections.abc import Iterable, Sequence

import pandas as pd

from pipelines.report.formatting import capitalise, format_spread, format_value
from pipelines.report.row_labels import label_row
from pipelines.report.table import METHOD_COLUMN, Cell, Column, Row, Table, number_cell
from robustkd.evaluation.metric_table import Group, Metric, find_metric, metrics_of
from robustkd.study.comparison import Comparison
from robustkd.study.conclusions import UNDEFINED_CORRUPTIONS, has_undefined_corruptions

CLEAN_PREFIX = "clean_"  # of metrics on the test rows with a clean label
MIN_CLASSES_FOR_THIRDS = 9
FREQUENCY_LEGEND = "many: over 100 training images, medium: 20 to 100, few: under 20"
THIRDS_LEGEND = "thirds of the classes by their number of training images"


def performance_table(comparison: Comparison) -> Table | None:
    """Build the table of the metrics of decisions."""
    return build_metric_table(
        comparison, "performance: mean ± standard deviation over seeds", _performance_names(comparison)
    )


def clean_performance_table(comparison: Comparison) -> Table | None:
    """Build the table of the metrics of decisions on the test rows with a clean label."""
    names = [*_performance_names(comparison), *class_size_names(comparison, CLEAN_PREFIX)]
    title = "performance on the test rows with a clean label"
    return build_metric_table(comparison, title, [f"{CLEAN_PREFIX}{name}" for name in names])


def class_size_table(comparison: Comparison) -> Table | None:
    """Build the table of mean recall by groups of classes of similar size."""
    names = class_size_names(comparison)
    groups = FREQUENCY_LEGEND if {*names} <= {*metrics_of("frequency")} else THIRDS_LEGEND
    return build_metric_table(comparison, f"mean recall by class size ({groups})", names)


def probability_table(comparison: Comparison) -> Table | None:
    """Build the table of the metrics of probabilities."""
    names = measured_metrics(comparison, "probabilities")
    return build_metric_table(comparison, "quality of probabilities (less is better)", names, describe_metrics(names))


def truth_table(comparison: Comparison) -> Table | None:
    """Build the table of the metrics against known true labels of the training rows."""
    names = measured_metrics(comparison, "truth")
    known, rows = comparison.record.known_training
    note = describe_metrics(names)
    if known < rows:
        note += f" Measured on the {known} of {rows} training rows whose true label is known."
    return build_metric_table(comparison, "against the truth", names, note)


def agreement_table(comparison: Comparison) -> Table | None:
    """Build the table of how often a network predicts the class that its teacher predicts."""
    names = measured_metrics(comparison, "agreement")
    note = "How often a net predicts the class that its teacher predicts, in per cent."
    return build_metric_table(comparison, "agreement with the teacher", names, note)


def robustness_table(comparison: Comparison) -> Table | None:
    """Build the table of accuracy on attacked and corrupted test images."""
    columns = [str(column).removesuffix("_mean") for column in comparison.summary if str(column).endswith("_mean")]
    names = [name for name in columns if find_metric(name).group == "other"]
    return build_metric_table(comparison, "accuracy on changed test images", names)


def describe_undefined_corruptions(comparison: Comparison) -> list[str]:
    """Say that corruptions were requested but are not defined for the images, if so."""
    if not has_undefined_corruptions(comparison.results):
        return []
    return [f"corrupted test images: {UNDEFINED_CORRUPTIONS}"]


def build_metric_table(comparison: Comparison, title: str, names: Sequence[str], note: str = "") -> Table | None:
    """Build a table of metrics; None where no row has any of them.

    The last column, `seeds`, counts the runs. The best of the networks that methods ship is marked in each column.
    """
    metrics = {name: find_metric(name) for name in names if f"{name}_mean" in comparison.summary}
    summary = comparison.summary
    summary = summary[summary[[f"{name}_mean" for name in metrics]].notna().any(axis=1)] if metrics else summary[:0]
    if not len(summary):
        return None
    shipped = [name for name in summary.index if name in comparison.record.ranked_methods]
    best = _best_means(summary.loc[shipped], metrics.values())
    rows = []
    for name, line in summary.iterrows():
        cells = [Cell(label_row(name, comparison.record))]
        for metric, mean in ((metric, line[f"{metric}_mean"]) for metric in metrics):
            std = line[f"{metric}_std"]
            is_best = name in shipped and mean == best.get(metric)
            cells.append(number_cell(format_value(mean, metric), mean, format_spread(std, metric), is_best))
        cells.append(number_cell(str(int(line["seeds"])), line["seeds"]))
        rows.append(Row(cells, muted=name not in shipped))
    columns = [METHOD_COLUMN, *_metric_columns(metrics.values()), Column("seeds", "seeds")]
    return Table(title, columns, rows, note)


def measured_metrics(comparison: Comparison, group: Group) -> list[str]:
    """Return the metrics of a group that any row has."""
    return [name for name in metrics_of(group) if f"{name}_mean" in comparison.summary]


def describe_metrics(names: Iterable[str]) -> str:
    """Describe metrics in one sentence."""
    text = "; ".join(find_metric(name).description for name in names if find_metric(name).description)
    return f"{capitalise(text)}." if text else ""


def _performance_names(comparison: Comparison) -> list[str]:
    """Return the metrics of decisions, without those that repeat another one for so few classes."""
    k = len(comparison.record.classes)
    return [name for name, metric in metrics_of("performance").items() if metric.min_classes <= k]


def class_size_names(comparison: Comparison, prefix: str = "") -> list[str]:
    """Return the metrics by class size, the coarser grouping where the finer has one group that holds all classes."""
    measured = {
        group: [name for name in metrics_of(group) if f"{prefix}{name}_mean" in comparison.summary]
        for group in ("frequency", "thirds")
    }
    if len(measured["frequency"]) > 1:
        return measured["frequency"]
    return measured["thirds"] if len(comparison.record.classes) >= MIN_CLASSES_FOR_THIRDS else []


def _best_means(shipped: pd.DataFrame, metrics: Iterable[Metric]) -> dict[str, float]:
    """Return the best mean of each metric that has a better direction and more than one value."""
    best = {}
    for metric in metrics:
        means = shipped[f"{metric.name}_mean"]
        if metric.higher_is_better is not None and means.nunique() > 1:
            best[metric.name] = float(means.max() if metric.higher_is_better else means.min())
    return best


def _metric_columns(metrics: Iterable[Metric]) -> list[Column]:
    """Return a column per metric; among other units, shares are marked as per cent."""
    metrics = list(metrics)
    mixed = len({metric.unit == "share" for metric in metrics}) > 1
    marks = {metric.name: ", %" if mixed and metric.unit == "share" else "" for metric in metrics}
    return [Column(metric.name, metric.label.removesuffix(", clean part") + marks[metric.name]) for metric in metrics]
