"""Names and values of a run's metrics."""

import numpy as np

from pipelines.tracking.entities import to_mlflow_metrics
from pipelines.tracking.metrics import result_metrics, training_params
from robustkd.evaluation.results import AttackMetrics, FitMetrics, TemperatureScaling
from robustkd.study.results import Cost, RunKey
from tests.pipelines.documents import make_result, make_training
from tests.study.test_machine import make_machine

RUN = RunKey(role="student", method="hinton", criterion="ce", seed=0)
LOGITS = np.log([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1]])


def logged_metrics(result):
    return {metric.key: metric.value for metric in to_mlflow_metrics(result_metrics(result), 0)}


def test_metrics_on_known_labels_have_prefixes():
    fit = FitMetrics(known=9, corrupted=0, foreign=0, metrics={"memorised": None, "clean_fit": 0.75})
    result = make_result("x", RUN, np.array([0, 0]), LOGITS, fit=fit)
    clean = result.last.model_copy(update={"rows": 4, "recall": {"cat": 0.25, "dog": None}})
    logged = logged_metrics(result.model_copy(update={"clean": clean}))
    assert (logged["fit/clean_fit"], logged["fit/known"]) == (0.75, 9)
    assert "fit/memorised" not in logged, "a share of no rows is absent, not zero"
    assert (logged["clean/rows"], logged["clean/accuracy"], logged["clean/recall/cat"]) == (4, 0.5, 0.25)
    assert "clean/recall/dog" not in logged


def test_optional_metrics_have_prefixes():
    result = make_result("x", RUN, np.array([0, 0]), LOGITS)
    groups, scaled = {"many": 0.5, "few": None}, TemperatureScaling(temperature=2.0, nll=None, ece=0.1)
    cost = Cost(
        **{"parameters": 7, "macs": 8, "images": None, "seconds": 3.0, "teacher_seconds": None},
        **{"images_per_second": 30.0, "peak_memory": 9},
    )
    robust = {
        "fgsm 8/255": AttackMetrics(attack="fgsm", accuracy=0.5, balanced_accuracy=0.4, recall={"cat": 1.0}),
        "mine": AttackMetrics(attack="mine", accuracy=0.25, balanced_accuracy=0.2, recall={}, largest_linf=0.03),
    }
    changes = {
        "last": result.last.model_copy(update={"groups": groups, "scaled": scaled}),
        "agreement": {"test": 0.75, "corrupted": None},
        "robust": robust,
        "corruptions": {"noise": {"1": 0.5}},
        "cost": cost,
        "training": make_training(peak_memory=9),
    }
    plain = logged_metrics(result)
    logged = logged_metrics(result.model_copy(update=changes))
    assert {name: value for name, value in logged.items() if name not in plain} == {
        **{"groups/many": 0.5, "scaled/temperature": 2.0, "scaled/ece": 0.1},
        **{"agreement/test": 0.75, "corruptions/noise/1": 0.5},
        **{"robust/fgsm 8_255/accuracy": 0.5, "robust/fgsm 8_255/balanced_accuracy": 0.4},
        **{"robust/mine/accuracy": 0.25, "robust/mine/balanced_accuracy": 0.2, "robust/mine/largest_linf": 0.03},
        **{"training/seconds": 3.0, "training/images_per_second": 30.0},
        **{"training/peak_memory": 9, "training/skipped_updates": 0},
    }
    assert {name: value for name, value in logged.items() if name.startswith("cost/")} == {
        "cost/parameters": 7,
        "cost/macs": 8,
    }


def test_machines_are_one_parameter_in_words_and_skipped_updates_a_metric():
    machines = [make_machine(), make_machine(threads=2)]
    training = make_training(machines=machines, skipped_updates=3, hyperparameters={"hinton.alpha": 0.9})
    params = training_params(training)
    assert params["trained_on"] == (
        "a processor, AVX2, 1 thread, fp32, torch 2.9; a processor, AVX2, 2 threads, fp32, torch 2.9"
    )
    assert params["hinton.alpha"] == 0.9
    assert not {"machines", "skipped_updates"} & params.keys()
    assert "trained_on" not in training_params(make_training()), "records of earlier versions name no machine"
    result = make_result("x", RUN, np.array([0, 0]), LOGITS, training=training)
    assert logged_metrics(result)["training/skipped_updates"] == 3
