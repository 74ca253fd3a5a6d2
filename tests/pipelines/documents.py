"""Documents of a study, built without running one: a record, and results of logits chosen by a test."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from robustkd.evaluation.net_metrics import evaluate_predictions
from robustkd.study.options import StudyOptions
from robustkd.study.results import Cost, ResolvedSettings, RunKey, RunResult, StudyRecord, TrainingInfo

CLASSES = ("cat", "dog", "eel")


def make_record(
    methods: Sequence[str] = ("baseline", "hinton"),
    seeds: int = 1,
    classes: Sequence[str] = CLASSES,
    options: dict[str, Any] | None = None,
    **fields: Any,
) -> StudyRecord:
    """A study.json; `options` and other fields replace those of a small study of digits."""
    given = {"scenario": "noise0.4", "methods": ",".join(methods), "seeds": seeds}
    given |= {"teacher": "wrn_16_2", "student": "wrn_10_2", **(options or {})}
    resolved = ResolvedSettings(
        precision="fp32",
        device="cpu",
        jobs=1,
        threads_per_job=1,
        rows_train=9,
        rows_held_out=0,
        rows_test=9,
        fingerprint="f" * 16,
        robustkd="0",
        torch="0",
    )
    values = {
        "methods": list(methods),
        "criteria": {text: text.partition("+")[2] or "ce" for text in methods},
        "seeds": seeds,
        "options": StudyOptions(**given),
        "resolved": resolved,
        "dataset": "digits",
        "classes": list(classes),
        "fingerprint": "f" * 16,
        "truth_known": True,
        "known_training": (9, 9),
        "known_test": (9, 9),
    }
    return StudyRecord(**{**values, **fields})


def make_result(name: str, run: RunKey, labels: np.ndarray, logits: np.ndarray, **fields: Any) -> RunResult:
    """A result.json of logits (n, K) on the test set; without a history of training unless one is given."""
    classes = fields.pop("classes", CLASSES)
    values = {
        "run": run,
        "name": name,
        "evaluation_version": "0",
        "last": evaluate_predictions(labels, logits, classes),
        "cost": Cost(
            parameters=9,
            macs=9,
            images=None,
            seconds=None,
            teacher_seconds=None,
            images_per_second=None,
            peak_memory=None,
        ),
    }
    return RunResult(**{**values, **fields})


def make_training(**fields: Any) -> TrainingInfo:
    """A trained.json of ten updates in three seconds."""
    values = {
        "seconds": 3.0,
        "updates": 10,
        "samples": 90,
        "images_per_second": 30.0,
        "peak_memory": None,
        "early_epoch": None,
        "finished": 1.7e9,
        "precision": "fp32",
        "device": "cpu",
        "torch": "0",
        "version": "0",
        "hyperparameters": {},
    }
    return TrainingInfo(**{**values, **fields})
