"""Synthetic studies: random predictions, evaluated as real ones are, in any number of methods, seeds and classes."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import scenarios
from robustkd import seeds
from robustkd.data import manifest, sources
from robustkd.data.splits import split_source
from robustkd.evaluation.calibration import apply_temperature
from robustkd.evaluation.net_metrics import evaluate_predictions
from robustkd.evaluation.results import FitMetrics, NetMetrics
from robustkd.study import comparison
from robustkd.study.comparison import Comparison
from robustkd.study.results import (
    TEACHER,
    LoadedStudy,
    RunResult,
    StudyRecord,
    write_document,
)
from tests.records import make_cost, make_record, make_result, make_training

# Names that HTML, Markdown, LaTeX or a list with separators could take for markup.
SPECIAL_NAMES = ("<script>alert(1)</script>", "süß, sauer", "süß; sauer", "$50$ % \\frac_{1}", 'a "b" & |c| id="x"')
SKILL = {"baseline": 0.5, "hinton": 1.6, "at": 0.05}  # added to the right logit; other methods by their name


def study_record(
    methods: tuple[str, ...] = ("baseline", "hinton"),
    seed_count: int = 2,
    classes: tuple[str, ...] = ("cat", "dog", "eel"),
    **options: Any,
) -> StudyRecord:
    """Return the record of a study of digits; further arguments are its options."""
    return make_record(methods, seed_count, {"dataset": "digits", **options}, dataset="digits", classes=list(classes))


def evaluation(name: str, seed: int, classes: tuple[str, ...], rows: int, early: bool = False) -> NetMetrics:
    """Evaluate random logits of a method that is as good as its skill."""
    random = np.random.default_rng(seeds.derive(seed, name, "early" if early else "last"))
    labels = np.arange(rows) % len(classes)
    skill = SKILL.get(name, 1 + (seeds.derive(0, name) % 100) / 200) * np.linspace(2, 4, len(classes))
    logits = random.normal(size=(rows, len(classes)))
    logits[np.arange(rows), labels] += skill[labels]
    net = evaluate_predictions(labels, logits, classes)
    return net.model_copy(update={"scaled": apply_temperature(labels, logits, 1.3)})


FIT = FitMetrics(
    known=9,
    corrupted=4,
    foreign=0,
    metrics={
        **{"memorised": 0.1, "recovered": 0.8, "clean_fit": 0.9},
        **{"foreign_fitted": None, "loss_auroc": 0.97},
    },
)


def run_result(role: str, name: str, seed: int, classes: tuple[str, ...], rows: int) -> RunResult:
    """Return the result of a run with all optional parts except those on clean test rows and of robustness."""
    return make_result(
        role,
        name,
        seed,
        evaluation(name, seed, classes, rows),
        name=f"{role}-{seeds.derive(0, name) % 10**6}-{seed}",
        early=evaluation(name, seed, classes, rows, early=True),
        fit=FIT,
        agreement={"test": 0.9, "corrupted": None},
        cost=make_cost(seconds=3.0 + seed, teacher_seconds=2.0),
        training=make_training(seconds=3.0, early_epoch=2, finished=1.7e9 + seed, hyperparameters={"x.y": 1}),
    )


def epoch_table(seed: int, epochs: int = 4) -> pd.DataFrame:
    """Return an epochs.csv."""
    rise = np.arange(1, epochs + 1) / epochs
    low = 0.9 - 0.01 * seed
    return pd.DataFrame(
        {"epoch": range(1, epochs + 1), "accuracy": low * rise, "memorised": rise / 9, "recovered": rise}
    )


def loaded_study(
    methods: tuple[str, ...] = ("baseline", "hinton"),
    seed_count: int = 2,
    classes: tuple[str, ...] = ("cat", "dog", "eel"),
    rows: int = 60,
    **options: Any,
) -> LoadedStudy:
    """Return a finished study that is in no folder."""
    runs = [(TEACHER, "baseline+ce", seed) for seed in range(seed_count)]
    runs += [("student", name, seed) for seed in range(seed_count) for name in methods]
    results = [run_result(*run, classes, rows) for run in runs]
    epochs = {result.name: epoch_table(result.run.seed) for result in results}
    return LoadedStudy(study_record(methods, seed_count, classes, **options), results, epochs)


def compared_study(*arguments: Any, **options: Any) -> Comparison:
    """Return the comparison of a synthetic study."""
    return comparison.compare_runs(loaded_study(*arguments, **options))


def study_folder(folder: Path, methods: tuple[str, ...] = ("baseline", "hinton"), seed_count: int = 2) -> Path:
    """Write a study of digits: its manifests are real, its results are not."""
    source = sources.load_dataset("digits")
    study = loaded_study(methods, seed_count, source.classes, 200)
    rows = split_source(source, held_out=0.1, seed=0)
    names = {(result.run.role, result.run.method, result.run.seed): result.name for result in study.results}
    for seed in range(seed_count):
        views = manifest.build_splits(scenarios.parse("noise0.4"), source, rows, seed)
        manifest.save_manifest(folder / f"manifest-{seed}", views, {"scenario": "noise0.4"})
        for method in methods:
            run_folder = folder / "runs" / names["student", method, seed]
            run_folder.mkdir(parents=True)
            train = views.train
            truth = train.truth
            assert truth is not None
            # The baseline predicts the wrong label of every other row, the other methods the true one.
            predicted = np.where(train.rows % 2, train.labels, truth) if method == "baseline" else truth
            arrays = {"row": train.rows, "label": train.labels, "truth": truth, "predicted": predicted}
            np.savez(
                run_folder / "fit-last.npz", **arrays, origin=np.zeros_like(truth), probability=np.ones(len(truth))
            )
    for result in study.results:
        run_folder = folder / "runs" / result.name
        run_folder.mkdir(parents=True, exist_ok=True)
        write_document(run_folder / "result.json", result)
        study.epochs[result.name].to_csv(run_folder / "epochs.csv", index=False)
    write_document(folder / "study.json", study.record.model_copy(update={"fingerprint": source.fingerprint}))
    return folder
