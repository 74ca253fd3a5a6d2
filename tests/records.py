"""Made-up records of studies, for tests of what reads them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from robustkd.evaluation.results import NetMetrics
from robustkd.study.options import StudyOptions
from robustkd.study.results import Cost, LoadedStudy, ResolvedSettings, RunKey, RunResult, StudyRecord, TrainingInfo


def make_net(recall: Mapping[str, float | None], support: int | Sequence[int] = 40, **values: Any) -> NetMetrics:
    """A network with these recalls by class.

    Args:
        support: test rows of each class, or of all alike.
        values: further metrics, or other values of those that follow from the recalls; and fields of NetMetrics.
    """
    sizes = [support] * len(recall) if isinstance(support, int) else list(support)
    known = [value for value in recall.values() if value is not None]
    fields = {name: values.pop(name) for name in ("groups", "scaled") if name in values}
    metrics = {"accuracy": sum(known) / len(known), "balanced_accuracy": sum(known) / len(known)}
    metrics |= {"worst_recall": min(known), **values}
    nothing = dict.fromkeys(recall)
    return NetMetrics(
        rows=sum(sizes),
        metrics=metrics,
        recall=dict(recall),
        precision=nothing,
        f1=nothing,
        support=dict(zip(recall, sizes, strict=True)),
        confusion=[[0] * len(recall) for _ in recall],
        reliability=[],
        **{"groups": {}, **fields},
    )


def make_cost(**values: Any) -> Cost:
    """The cost of a run."""
    fields = {"parameters": 10, "macs": 100, "images": 1000, "seconds": 2.0, "teacher_seconds": 0.0}
    return Cost(**{**fields, "images_per_second": 500.0, "peak_memory": None, **values})


def make_training(**values: Any) -> TrainingInfo:
    """The training of a run on a CPU, by the method's first version."""
    fields = {"seconds": 2.0, "updates": 10, "samples": 100, "images_per_second": 500.0, "peak_memory": None}
    fields |= {"early_epoch": None, "finished": 1.7e9, "precision": "fp32", "device": "cpu", "torch": "2"}
    return TrainingInfo(**{**fields, "version": "1.1.1", "hyperparameters": {}, **values})


def make_result(role: str, method: str, seed: int, last: NetMetrics, **fields: Any) -> RunResult:
    """The result of a run."""
    criterion = method.partition("+")[2] or "ce"
    return RunResult(
        run=RunKey(role=role, method=method, criterion=criterion, seed=seed),
        evaluation_version="now",
        last=last,
        **{"name": f"{role}-{method}-{seed}", "cost": make_cost(), **fields},
    )


def make_record(
    methods: Sequence[str], seeds: int, options: Mapping[str, Any] | None = None, **fields: Any
) -> StudyRecord:
    """The record of a study of two classes, cat and dog."""
    resolved = {
        "precision": "fp32",
        "device": "cpu",
        "jobs": 1,
        "threads_per_job": 1,
        "rows_train": 90,
        "rows_held_out": 10,
    }
    resolved |= {"rows_test": 80, "fingerprint": "f" * 16, "robustkd": "0", "torch": "2"}
    given = {"scenario": "noise0.4", "dataset": "pets", "methods": ",".join(methods), "seeds": seeds}
    given |= {"teacher": "wrn_16_2", "student": "wrn_10_2", **(options or {})}
    values = {
        "methods": list(methods),
        "criteria": {method: method.partition("+")[2] or "ce" for method in methods},
        "seeds": seeds,
        "options": StudyOptions(**given),
        "resolved": ResolvedSettings(**resolved),
        "dataset": "pets",
        "classes": ["cat", "dog"],
        "fingerprint": "f" * 16,
        "truth_known": True,
        "known_training": (90, 90),
        "known_test": (80, 80),
    }
    return StudyRecord(**{**values, **fields})


def change_results(study: LoadedStudy, changes: Callable[[RunResult], Mapping[str, Any]]) -> LoadedStudy:
    """The study with fields of its results changed.

    Args:
        changes: returns the new values of a result's fields.
    """
    return study._replace(results=[r.model_copy(update=dict(changes(r))) for r in study.results])
