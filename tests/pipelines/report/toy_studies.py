"""Studies with fixed results, checked by hand, and the page of each."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pipelines.report.summary import summarise_study
from robustkd.evaluation.results import AttackMetrics, FitMetrics, NetMetrics, TemperatureScaling
from robustkd.study import comparison, results
from robustkd.study.results import LoadedStudy, RunResult, StudyRecord
from tests.records import change_results, make_cost, make_net, make_record, make_result, make_training

CLASSES = ("süß & 50 %", "a_b | <script>", "$x$, y")
METHODS = ("baseline", "hinton", "dml", "baseline+balanced", "hinton+balanced")
GAINS = {"hinton": 0.02, "dml": 0.0, "baseline+balanced": -0.03, "hinton+balanced": -0.01}
# Added to the recall of each class, by seed; fixed numbers, so that no random generator is needed.
WOBBLE = ((0.00, 0.01, -0.02), (0.03, -0.01, 0.01), (-0.02, 0.02, 0.00), (0.01, 0.00, 0.03), (-0.01, -0.02, 0.02))
SCALED = TemperatureScaling(temperature=1.5, nll=0.3, ece=0.02)


def net_with_recalls(recall: Mapping[str, float | None], rows: int = 40, **fields: Any) -> NetMetrics:
    """A network with these recalls, and other metrics that follow from them; a class without a recall has no rows."""
    known = [value for value in recall.values() if value is not None]
    return make_net(
        recall,
        [0 if value is None else rows for value in recall.values()],
        accuracy=float(np.mean(known)),
        balanced_accuracy=float(np.mean(known)),
        worst_three=float(np.mean(sorted(known)[:3])),
        macro_f1=float(np.mean(known)) - 0.01,
        nll=2 * (1 - min(known)),
        brier=1 - float(np.mean(known)),
        ece=0.04,
        **fields,
    )


def make_toy_result(
    method: str, seed: int, classes: Sequence[str] = CLASSES, role: str = "student", **fields: Any
) -> RunResult:
    """A run's result: recalls from 0.9 down, changed by seed, class and method."""
    gain = GAINS.get(method, 0.0) + 0.001 * (seed if method == "hinton" else 0)
    recall = {name: 0.9 - 0.1 * (n % 4) + WOBBLE[seed % 5][n % 3] + gain for n, name in enumerate(classes)}
    if method.startswith("baseline") and role == "student":
        fields["early"] = net_with_recalls({name: value - 0.05 for name, value in recall.items()})
    cost = make_cost(
        parameters=83466,
        macs=12_345_678,
        images=38880,
        seconds=8.25 + seed,
        teacher_seconds=12.5 if method.startswith("hinton") else 0.0,
        peak_memory=200_000_000,
    )
    values = {"name": results.run_name(role, method, seed), "cost": cost, "training": make_training(), **fields}
    return make_result(role, method, seed, net_with_recalls(recall, scaled=SCALED), **values)


def make_toy_record(
    methods: Sequence[str] = METHODS, seeds: int = 5, options: Mapping[str, Any] | None = None, **fields: Any
) -> StudyRecord:
    """The record of a study of a toy data set with three classes."""
    values = {"dataset": "toy", "classes": list(CLASSES), "known_training": (100, 100), "known_test": (120, 120)}
    return make_record(methods, seeds, {"dataset": "toy", **(options or {})}, **{**values, **fields})


def study_with_known_labels() -> LoadedStudy:
    """Five seeds of two baselines and what is compared with them, on labels that are known to be right."""
    runs = [make_toy_result("baseline+ce", seed, role="teacher") for seed in range(5)]
    for method in METHODS:
        for seed in range(5):
            metrics = {"memorised": 0.05 + 0.01 * seed, "recovered": 0.9, "clean_fit": 0.97, "loss_auroc": 0.98}
            fit = FitMetrics(known=100, corrupted=40, foreign=0, metrics=metrics)
            runs.append(make_toy_result(method, seed, fit=fit, agreement={"test": 0.95, "corrupted": None}))
    attacked = AttackMetrics(attack="fgsm", accuracy=0.25, balanced_accuracy=0.25, recall={})
    runs[-1] = runs[-1].model_copy(update={"robust": {"fgsm 8/255": attacked}})
    epochs = pd.DataFrame({"epoch": range(1, 9), "accuracy": [0.5 + 0.05 * n for n in range(1, 9)]})
    return LoadedStudy(make_toy_record(), runs, {f"baseline-seed{seed}": epochs for seed in range(5)})


def study_with_labels_as_given() -> LoadedStudy:
    """Two seeds, one without its pair, with test labels as given; one class has no test rows."""
    runs = []
    for method, seed in (("baseline", 0), ("baseline", 1), ("hinton", 0)):
        run = make_toy_result(method, seed)
        clean = {CLASSES[0]: 0.5 + 0.25 * (method == "hinton"), CLASSES[1]: None, CLASSES[2]: 1.0}
        changes = {
            "last": net_with_recalls({**run.last.recall, CLASSES[1]: None}),
            "clean": net_with_recalls(clean, rows=3),
        }
        runs.append(run.model_copy(update=changes))
    changed = {"truth_known": False, "known_test": (7, 80), "known_training": (0, 90)}
    return LoadedStudy(make_toy_record(["baseline", "hinton"], 2, **changed), runs, {})


def large_study() -> LoadedStudy:
    """A hundred classes, and thirty methods with long names."""
    classes = [f"class {n}" for n in range(100)]
    methods = ["baseline", *(f"hinton(alpha=0.{n:02}, temperature=2)+balanced" for n in range(30))]

    def change(run: RunResult) -> dict[str, Any]:
        if run.run.method == "baseline":
            return {}
        # The first fifty classes differ, the more the higher their number.
        recall = {name: value + 0.001 * n * (n < 50) for n, (name, value) in enumerate(run.last.recall.items())}
        return {"last": run.last.model_copy(update={"recall": recall})}

    runs = [make_toy_result(method, seed, classes) for method in methods for seed in range(5)]
    return change_results(LoadedStudy(make_toy_record(methods, classes=classes), runs, {}), change)


GOLDEN_STUDIES = {"known": study_with_known_labels, "as-given": study_with_labels_as_given}


def summarise_toy_study(study: LoadedStudy) -> list[Any]:
    """The page of a study."""
    return summarise_study(comparison.compare_runs(study))
