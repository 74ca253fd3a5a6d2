"""Studies with made-up predictions, in the files of real ones: for benchmarks of what reads results, without any training."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustkd.evaluation.net_metrics import evaluate_predictions
from robustkd.method_spec import MethodSpec
from robustkd.seeds import derive
from robustkd.study.agreements import pack_classes
from robustkd.study.evaluate import Evaluation
from robustkd.study.options import StudyOptions
from robustkd.study.plan import Run
from robustkd.study.results import (
    BASELINE,
    TEACHER,
    Cost,
    ResolvedSettings,
    RunResult,
    StudyRecord,
    TrainingInfo,
    write_document,
)
from robustkd.study.run_folder import save_evaluation

EPOCHS = 20
ACCURACY, GAIN, SPREAD = 0.7, 0.02, 0.005  # of the baseline; what a method may add to it; standard deviation over seeds
Labels = NDArray[np.int64]


def draw_logits(labels: Labels, classes: int, accuracy: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw logits that predict labels (N,) with an accuracy: (N, K)."""
    logits = rng.normal(size=(len(labels), classes)).astype(np.float32)
    right = rng.random(len(labels)) < accuracy
    logits[np.arange(len(labels)), np.where(right, labels, rng.integers(0, classes, len(labels)))] += 8
    return logits


def fabricate_run(folder: Path, run: Run, labels: Labels, names: Sequence[str], accuracy: float) -> None:
    """Write the evaluation and the history of a run."""
    rng = np.random.default_rng(derive(0, run.name, len(labels)))
    logits = draw_logits(labels, len(names), accuracy, rng)
    net = evaluate_predictions(labels, logits, names)
    cost = Cost(parameters=1, macs=1, images=1, seconds=1.0, teacher_seconds=1.0, images_per_second=1.0, peak_memory=1)
    result = RunResult(
        run=run.key,
        name=run.name,
        evaluation_version="fabricated",
        last=net,
        early=net,
        predictions={"test": pack_classes(logits.argmax(axis=1))},
        cost=cost,
        training=describe_training(),
    )
    place = folder / "runs" / run.name
    place.mkdir(parents=True)
    save_evaluation(place, Evaluation(result, {}))
    curve = np.linspace(0.1, accuracy, EPOCHS)
    pd.DataFrame({"epoch": range(1, EPOCHS + 1), "accuracy": curve}).to_csv(place / "epochs.csv", index=False)


def describe_training() -> TrainingInfo:
    """Return how a run that never took place was trained."""
    return TrainingInfo(
        seconds=1.0,
        updates=10,
        samples=100,
        images_per_second=100.0,
        peak_memory=1,
        early_epoch=EPOCHS,
        finished=0.0,
        precision="fp32",
        device="cpu",
        torch="none",
        version="fabricated",
        hyperparameters={},
    )


def fabricate_study(folder: Path, methods: Sequence[str], seeds: int, classes: int, images: int) -> None:
    """Write a study whose networks were tested on so many images of so many classes.

    Args:
        methods: as typed, with the baseline.
    """
    names = [f"class {number:04d}" for number in range(classes)]
    labels, rng = np.arange(images) % classes, np.random.default_rng(0)
    for method in (TEACHER, *methods):
        gain = 0.0 if method == BASELINE else GAIN * rng.random()
        for seed in range(seeds):
            role, text = ("teacher", BASELINE) if method == TEACHER else ("student", method)
            run = Run(role, MethodSpec.parse(text), seed)
            fabricate_run(folder, run, labels, names, ACCURACY + gain + SPREAD * rng.normal())
    resolved = ResolvedSettings(
        precision="fp32",
        device="cpu",
        jobs=1,
        threads_per_job=1,
        rows_train=images,
        rows_held_out=0,
        rows_test=images,
        recipes={"student": {}, "teacher": {}},
        fingerprint="fabricated",
        robustkd="",
        torch="",
    )
    record = StudyRecord(
        methods=list(methods),
        criteria=dict.fromkeys(methods, "ce"),
        seeds=seeds,
        options=StudyOptions(scenario="clean", methods=",".join(methods), seeds=seeds),
        resolved=resolved,
        dataset="fabricated",
        classes=names,
        fingerprint="fabricated",
        truth_known=True,
        known_training=(images, images),
        known_test=(images, images),
        test_labels=pack_classes(labels),
    )
    write_document(folder / "study.json", record)
