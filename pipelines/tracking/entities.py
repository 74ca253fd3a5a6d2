"""Values as MLflow's entities: metrics, parameters, tags and data sets, within its limits."""

import json
import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.tracking.names import legal_name
from pipelines.tracking.redaction import redact

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Metric, Param, RunTag

PARENT_TAG = "mlflow.parentRunId"  # names the run below which MLflow shows a run
# Characters of a value that MLflow accepts.
MAX_PARAM, MAX_TAG = 6000, 8000
MAX_DATASET_NAME, MAX_DATASET_DIGEST = 500, 36


def to_mlflow_metrics(
    values: Mapping[str, float | None], step: int, when: float | None = None, model: str | None = None
) -> "list[Metric]":
    """Convert metrics to MLflow's, dated now or at a given time, without missing and non-finite values."""
    from mlflow.entities import Metric

    timestamp = to_milliseconds(when)
    return [
        Metric(legal_name(name), float(value), timestamp, step, model_id=model)
        for name, value in values.items()
        if value is not None and math.isfinite(value)
    ]


def param_values(values: Mapping[str, Any]) -> dict[str, str]:
    """Return parameters as MLflow stores them, without secrets; of names that are one to a store that ignores case, the first.

    >>> param_values({"lr": 0.1, "a, b": None, "A; b": 2})
    {'lr': '0.1', 'a_ b': 'None'}
    """
    distinct: dict[str, tuple[str, str]] = {}
    for name, value in values.items():
        legal = legal_name(name)
        distinct.setdefault(legal.casefold(), (legal, redact(str(value))[:MAX_PARAM]))
    return dict(distinct.values())


def to_mlflow_params(values: Mapping[str, Any], logged: Iterable[str] = ()) -> "list[Param]":
    """Convert parameters to MLflow's, without those that are logged already, which MLflow cannot change."""
    from mlflow.entities import Param

    known = {name.casefold() for name in logged}
    return [Param(name, value) for name, value in param_values(values).items() if name.casefold() not in known]


def to_mlflow_tags(values: Mapping[str, str]) -> "list[RunTag]":
    """Convert tags to MLflow's, without secrets."""
    from mlflow.entities import RunTag

    return [RunTag(name, redact(value)[:MAX_TAG]) for name, value in values.items()]


def to_mlflow_dataset(dataset: Mapping[str, Any]) -> "DatasetInput":
    """Describe a data set by its name and digest, without reading its images again.

    Args:
        dataset: `name`, `digest`, `source` (a path or a name) and, where known, `counts`.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = str(dataset.get("source", dataset["name"]))
    path = source.partition(":")[2] or source
    is_local = Path(path).exists()
    data = Dataset(
        name=str(dataset["name"])[:MAX_DATASET_NAME],
        digest=str(dataset["digest"])[:MAX_DATASET_DIGEST],
        source_type="local" if is_local else "code",
        source=json.dumps({"uri": str(Path(path).resolve())} if is_local else {"tags": {"dataset": source}}),
        profile=json.dumps(dataset.get("counts", {})),
    )
    return DatasetInput(data, [InputTag("mlflow.data.context", "training")])


def to_milliseconds(seconds: float | None) -> int:
    """Convert a time in seconds since 1970, or the current time, to milliseconds."""
    return round(1000 * (time.time() if seconds is None else seconds))
