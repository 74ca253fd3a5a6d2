"""The table of metrics: one entry per metric, read by the comparison, the report, the model card, the tracker and the CLI.

To add a metric of test predictions: its function in metrics.py, its entry here, its test.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from robustkd.evaluation import metrics
from robustkd.evaluation.metrics import Predictions

Group = Literal["performance", "probabilities", "frequency", "thirds", "truth", "agreement", "other"]


@dataclass(frozen=True)
class Metric:
    """A metric: how it is called, shown and read.

    Attributes:
        name: the key in files, in columns and in MLflow.
        label: the column heading.
        unit: "share" is shown in per cent, "nats" and "number" as they are.
        higher_is_better: None where neither direction is better.
        description: one sentence without its full stop, or an empty string where the label says it all.
        group: the table it is shown in.
        compute: from test predictions; None for what is measured elsewhere.
        min_classes: number of classes from which it is shown; with fewer it repeats another metric.
    """

    name: str
    label: str
    unit: Literal["share", "nats", "number"]
    higher_is_better: bool | None
    group: Group
    description: str = ""
    compute: Callable[[Predictions], float | None] | None = None
    min_classes: int = 0


def _size(name: str, label: str, group: Group) -> Metric:
    return Metric(name, label, "share", True, group)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "accuracy", "share", True, "performance", "", metrics.accuracy),
        Metric(
            "balanced_accuracy",
            "balanced accuracy",
            "share",
            True,
            "performance",
            "balanced accuracy: the mean recall over classes",
            metrics.balanced_accuracy,
        ),
        Metric(
            "worst_recall",
            "worst class",
            "share",
            True,
            "performance",
            "worst class: the smallest recall",
            metrics.worst_recall,
        ),
        Metric(
            "worst_three",
            "worst three",
            "share",
            True,
            "performance",
            "worst three: the mean of the three smallest recalls",
            metrics.worst_three,
            min_classes=4,
        ),
        Metric(
            "worst_quarter",
            "worst quarter",
            "share",
            True,
            "performance",
            "worst quarter: the mean of the smallest quarter of the recalls",
            metrics.worst_quarter,
            min_classes=5,
        ),
        Metric(
            "macro_f1",
            "macro F1",
            "share",
            True,
            "performance",
            "macro F1: the mean F1 over classes",
            metrics.macro_f1,
        ),
        Metric(
            "nll",
            "NLL",
            "nats",
            False,
            "probabilities",
            "NLL: mean negative log-likelihood, in nats",
            metrics.nll,
        ),
        Metric(
            "brier",
            "Brier",
            "number",
            False,
            "probabilities",
            "Brier: squared error of all probabilities",
            metrics.brier,
        ),
        Metric(
            "ece",
            "ECE",
            "share",
            False,
            "probabilities",
            "ECE: expected calibration error, the gap between confidence and accuracy over 15 equal bins",
            metrics.ece,
        ),
        Metric(
            "nll_scaled",
            "NLL after temperature scaling",
            "nats",
            False,
            "probabilities",
        ),
        Metric(
            "ece_scaled",
            "ECE after temperature scaling",
            "share",
            False,
            "probabilities",
            "the temperature is fitted on the held-out split, which is corrupted like the training rows",
        ),
        Metric("temperature", "temperature", "number", None, "probabilities"),
        _size("many", "many", "frequency"),
        _size("medium", "medium", "frequency"),
        _size("few", "few", "frequency"),
        _size("head", "largest third", "thirds"),
        _size("middle", "middle third", "thirds"),
        _size("tail", "smallest third", "thirds"),
        Metric(
            "memorised",
            "memorised",
            "share",
            False,
            "truth",
            "memorised: wrong training labels that the net predicts",
        ),
        Metric(
            "recovered",
            "recovered",
            "share",
            True,
            "truth",
            "recovered: wrongly labelled training images predicted as their true class",
        ),
        Metric(
            "clean_fit",
            "clean fit",
            "share",
            None,
            "truth",
            "clean fit: right training labels that the net predicts",
        ),
        Metric(
            "loss_auroc",
            "AUROC of the loss",
            "number",
            True,
            "truth",
            "AUROC: how well the loss separates wrong labels from right ones",
        ),
        Metric("agreement_test", "on the test set", "share", None, "agreement"),
        Metric("agreement_corrupted", "on wrong training labels", "share", None, "agreement"),
    )
}


def find_metric(name: str) -> Metric:
    """Return a metric by the name of its column, also one on the clean part of the test set, or of an attack or corruption.

    >>> find_metric("clean_nll").label, find_metric("clean_nll").higher_is_better
    ('NLL, clean part', False)
    >>> find_metric("fgsm 8/255").unit
    'share'
    """
    if name in METRICS:
        return METRICS[name]
    base = name.removeprefix("clean_")
    if base in METRICS:
        return replace(METRICS[base], name=name, label=f"{METRICS[base].label}, clean part")
    return Metric(name, name, "share", True, "other")


def metrics_of(group: Group) -> dict[str, Metric]:
    """Return the metrics of a group, by name."""
    return {name: metric for name, metric in METRICS.items() if metric.group == group}
