"""Studies with made-up results of two classes, cat and dog, of equal size."""

from typing import Any

import numpy as np

from robustkd.study.agreements import pack_classes
from robustkd.study.results import LoadedStudy, RunResult
from tests.records import change_results, make_net, make_record, make_result


def run_result(role: str, method: str, seed: int, a: float, b: float, early: float | None = None) -> RunResult:
    """Return the result of a run with recalls a and b."""
    net = make_net({"cat": a, "dog": b})
    stopped = None if early is None else make_net({"cat": early, "dog": early})
    return make_result(role, method, seed, net, early=stopped)


METHODS = ["baseline", "baseline+balanced", "hinton", "hinton+balanced", "sp"]
LIFT = {"baseline": 0.0, "baseline+balanced": 0.05, "hinton": 0.04, "hinton+balanced": 0.05, "sp": -0.001}


def example_study(methods: list[str] | None = None, seeds: int = 5, **fields: Any) -> LoadedStudy:
    """Return a study in which hinton is better, hinton+balanced equals its baseline, and sp has no effect."""
    methods, results = methods or METHODS, []
    noise = np.random.default_rng(0).normal(scale=0.004, size=(len(METHODS), seeds, 2))
    noise[METHODS.index("hinton+balanced")] = noise[METHODS.index("baseline+balanced")]
    for method in methods:
        for seed in range(seeds):
            a, b = np.array([0.8, 0.6]) + 0.03 * seed + LIFT[method] + noise[METHODS.index(method), seed]
            early = 0.9 if method == "baseline" else None
            results.append(run_result("student", method, seed, float(a), float(b), early))
    return LoadedStudy(make_record(methods, seeds, **fields), results, {})


def predicted_study(
    methods: dict[str, float], seeds: int = 5, images: int = 60, favoured: float = 0.0, **fields: Any
) -> LoadedStudy:
    """Return a study whose results follow from predictions of alternately cat and dog.

    Args:
        methods: each with its share of wrong predictions.
        favoured: how much the images that are hard differ between methods, alike in all seeds.
    """
    labels, rng = np.arange(images) % 2, np.random.default_rng(0)
    results = []
    for method, share in methods.items():
        hardness = favoured * rng.normal(size=images)
        for seed in range(seeds):
            score = hardness + rng.normal(size=images)
            wrong = score > np.quantile(score, 1 - share - 0.03 * rng.random())
            predicted = np.where(wrong, 1 - labels, labels)
            net = make_net(
                {name: float((~wrong[labels == c]).mean()) for c, name in enumerate(("cat", "dog"))}, images // 2
            )
            results.append(make_result("student", method, seed, net, predictions={"test": pack_classes(predicted)}))
    record = make_record([*methods], seeds, fields.pop("options", None), test_labels=pack_classes(labels), **fields)
    return LoadedStudy(record, results, {})


def balanced_accuracies(study: LoadedStudy, method: str) -> list[float]:
    """Return the balanced accuracies of a method, by seed."""
    return [r.last.metrics["balanced_accuracy"] for r in study.results if r.run.method == method]


def with_noisy_test_labels(rows: int, flip: float = 0.0) -> LoadedStudy:
    """Return a study whose test labels are as given, with a clean part on which hinton loses `flip` of recall."""
    study = example_study(["baseline", "hinton"], truth_known=False, known_test=(2 * rows, 80))

    def clean(r: RunResult) -> dict[str, Any]:
        shift = flip if r.run.method == "hinton" else 0.0
        recall = {name: value - shift for name, value in r.last.recall.items()}
        return {"clean": make_net(recall, support=[rows, rows + 1])}

    return change_results(study, clean) if rows else study
