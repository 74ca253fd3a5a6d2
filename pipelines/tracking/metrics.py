"""The metrics and parameters of a run, by the names under which they are logged, and how a metric is logged only once."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.report.training_notes import format_machine
from pipelines.tracking.names import with_distinct_names
from robustkd.evaluation.results import NetMetrics
from robustkd.study.results import RunResult, TrainingInfo

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

# Fields of a trained.json that are metrics; most others are parameters.
MEASURED = ("seconds", "images_per_second", "peak_memory", "skipped_updates")

Metrics = dict[str, float | int | None]


def result_metrics(result: RunResult) -> Metrics:
    """Return the metrics of a result; an attack `fgsm 8/255` becomes `fgsm 8_255`."""
    values: Metrics = {**_overall_metrics("", result.last), **_class_metrics("", result.last)}
    if result.early:
        values |= _overall_metrics("early/", result.early)
    for name, net in with_distinct_names(result.auxiliary):
        values |= _overall_metrics(f"auxiliary/{name}/", net)
    for name, attacked in with_distinct_names(result.robust):
        numbers = attacked.model_dump(exclude={"attack", "recall"}, exclude_none=True)
        values |= {f"robust/{name}/{key}": value for key, value in numbers.items()}
    if result.clean:
        values |= {"clean/rows": result.clean.rows}
        values |= {**_overall_metrics("clean/", result.clean), **_class_metrics("clean/", result.clean)}
    if result.fit:
        counts = result.fit.model_dump(include={"known", "corrupted", "foreign"})
        values |= {f"fit/{name}": value for name, value in {**counts, **result.fit.metrics}.items()}
    values |= {f"agreement/{name}": value for name, value in (result.agreement or {}).items()}
    for kind, severities in (result.corruptions or {}).items():
        values |= {f"corruptions/{kind}/{severity}": value for severity, value in severities.items()}
    values |= {f"cost/{name}": value for name, value in result.cost.model_dump(exclude=set(MEASURED)).items()}
    if result.training:
        measured = result.training.model_dump(include=set(MEASURED))
        values |= {f"training/{name}": measured[name] for name in MEASURED}
    return values


def _overall_metrics(prefix: str, net: NetMetrics) -> Metrics:
    """Return the metrics that are one number, with those per group of classes and after temperature scaling."""
    scaled = net.scaled.model_dump() if net.scaled else {}
    values = {
        **net.metrics,
        **{f"groups/{name}": value for name, value in net.groups.items()},
        **{f"scaled/{name}": value for name, value in scaled.items()},
    }
    return {f"{prefix}{name}": value for name, value in values.items()}


def _class_metrics(prefix: str, net: NetMetrics) -> Metrics:
    """Return the metrics per class, under names that are all different."""
    return {
        f"{prefix}{metric}/{name}": value
        for metric, values in net.by_class.items()
        for name, value in with_distinct_names(values)
    }


def training_params(training: TrainingInfo | None) -> dict[str, Any]:
    """Return the parameters in a trained.json: hyperparameters, how it was trained and, in short, on which machines."""
    if training is None:
        return {}
    values = training.model_dump(exclude={*MEASURED, "finished", "format", "files", "machines", "weights", "teacher"})
    trained_on = "; ".join(map(format_machine, training.machines))
    return {**values.pop("hyperparameters"), **values, **({"trained_on": trained_on} if trained_on else {})}


def epoch_metrics(row: Mapping[str, Any]) -> dict[str, float]:
    """Rename the columns of epochs.csv to the names that they are logged under.

    >>> epoch_metrics({"epoch": 1, "phase": "train", "seconds": 2.0, "ce": 0.5, "accuracy": 0.9})
    {'seconds': 2.0, 'train/ce': 0.5, 'test/accuracy': 0.9}
    """
    names = {"accuracy": "test/accuracy", "held_out_accuracy": "held_out/accuracy", "seconds": "seconds"}
    return {names.get(key, f"train/{key}"): float(value) for key, value in row.items() if key not in ("epoch", "phase")}


def log_metrics(client: "MlflowClient", run_id: str, metrics: "Sequence[Metric]", is_repeated: bool) -> None:
    """Log metrics to a run. The client splits them into batches of the size that a store accepts.

    Args:
        is_repeated: whether some may be logged already, which are left out. Databases ignore a metric that they have with the
            same step, time and value, but MLflow's store of files does not.
    """
    if is_repeated:
        known = {
            (each.key, each.step, each.timestamp, each.value)
            for key in {metric.key for metric in metrics}
            for each in client.get_metric_history(run_id, key)
        }
        metrics = [each for each in metrics if (each.key, each.step, each.timestamp, each.value) not in known]
    if metrics:
        client.log_batch(run_id, metrics=metrics, synchronous=True)
