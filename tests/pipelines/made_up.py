"""Studies that nobody ran: answers drawn at random and measured as real ones are, as many and as odd as a test wants."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import scenarios
from robustkd import seeds
from robustkd.data import manifest, sources
from robustkd.data.splits import split_source
from robustkd.evaluation import metrics
from robustkd.study import comparison
from robustkd.study.comparison import Comparison, Recorded
from robustkd.study.options import StudyOptions

ODD = ("<script>alert(1)</script>", "süß, sauer", "süß; sauer", "$50$ % \\frac_{1}", 'a "b" & |c| id="x"')
SKILL = {"baseline": 0.5, "hinton": 1.6, "at": 0.05}  # how far the right logit stands out; others by their name


def card(methods: tuple[str, ...], seeds_: int, classes: tuple[str, ...], **given: Any) -> dict[str, Any]:
    """A study.json."""
    asked = StudyOptions(scenario="noise0.4", methods=",".join(methods), seeds=seeds_)
    words = {name: getattr(asked, name) for name in StudyOptions.__dataclass_fields__}
    return {
        "methods": list(methods),
        "seeds": seeds_,
        "given": {**words, **given},
        "resolved": {
            "robustkd": "0",
            "torch": "0",
            "device": "cpu",
            "precision": "fp32",
            "rows_train": 9,
            "rows_test": 9,
        },
        "dataset": "digits",
        "classes": list(classes),
        "fingerprint": "0123456789abcdef",
        "truth_known": True,
        "known_training": [9, 9],
        "known_test": [9, 9],
        "skipped": [],
    }


def answers(name: str, seed: int, classes: tuple[str, ...], rows: int, early: bool = False) -> dict[str, Any]:
    """Figures of answers to some rows."""
    random = np.random.default_rng(seeds.derive(seed, name, "early" if early else "last"))
    labels = np.arange(rows) % len(classes)
    skill = SKILL.get(name, 1 + (seeds.derive(0, name) % 100) / 200) * np.linspace(2, 4, len(classes))
    logits = random.normal(size=(rows, len(classes)))
    logits[np.arange(rows), labels] += skill[labels]
    figures = metrics.summary(labels, logits, classes)
    return {**figures, "scaled": metrics.scaled(labels, logits, 1.3)}


def run(role: str, name: str, seed: int, classes: tuple[str, ...], rows: int, truth: bool = True) -> dict[str, Any]:
    """A result.json."""
    wrong = {"known": 9, "corrupted": 4, "memorised": 0.1, "recovered": 0.8, "clean_fit": 0.9, "loss_auroc": 0.97}
    return {
        "cell": {"role": role, "method": name, "seed": seed},
        "name": f"{role}-{seeds.derive(0, name) % 10**6}-{seed}",
        "last": answers(name, seed, classes, rows),
        "early": answers(name, seed, classes, rows, early=True),
        **({"fit": wrong} if truth else {}),
        "agreement": {"test": 0.9, "corrupted": None},
        "cost": {"parameters": 9, "macs": 9e6, "images": 90, "seconds": 3.0 + seed, "teacher_seconds": 2.0},
        "trained": {"seconds": 3.0, "early_epoch": 2, "finished": 1.7e9 + seed, "hyperparameters": {"x.y": 1}},
    }


def history(name: str, seed: int, epochs: int = 4) -> pd.DataFrame:
    """An epochs.csv."""
    rise = np.arange(1, epochs + 1) / epochs
    low = 0.9 - 0.01 * seed
    return pd.DataFrame(
        {"epoch": range(1, epochs + 1), "accuracy": low * rise, "memorised": rise / 9, "recovered": rise}
    )


def recorded(
    methods: tuple[str, ...] = ("baseline", "hinton"),
    seeds_: int = 2,
    classes: tuple[str, ...] = ("cat", "dog", "eel"),
    rows: int = 60,
    **given: Any,
) -> Recorded:
    """A study's record, without a folder."""
    cells = [("teacher", "baseline+ce", seed) for seed in range(seeds_)]
    cells += [("student", name, seed) for seed in range(seeds_) for name in methods]
    results = [run(*cell, classes, rows) for cell in cells]
    curves = {r["name"]: history(r["cell"]["method"], r["cell"]["seed"]) for r in results}
    return Recorded(card(methods, seeds_, classes, **given), results, curves)


def study(*words: Any, **given: Any) -> Comparison:
    """A made-up study, compared."""
    return comparison.compare(recorded(*words, **given))


def folder(place: Path, methods: tuple[str, ...] = ("baseline", "hinton"), seeds_: int = 2) -> Path:
    """A study of the embedded digits in files: its manifests are real, its results are not."""
    source = sources.load_dataset("digits")
    record = recorded(methods, seeds_, source.classes, 200)
    rows = split_source(source, held_out=0.1, seed=0)
    runs = {(r["cell"]["role"], r["cell"]["method"], r["cell"]["seed"]): r for r in record.results}
    for seed in range(seeds_):
        views = manifest.build_splits(scenarios.parse("noise0.4"), source, rows, seed)
        manifest.save_manifest(place / f"manifest-{seed}", views, {"scenario": "noise0.4"})
        for method in methods:
            run_ = place / "runs" / runs["student", method, seed]["name"]
            run_.mkdir(parents=True)
            shown = views.train
            truth = shown.truth
            assert truth is not None
            # The baseline gives the wrong label of every other row, the others the truth.
            predicted = np.where(shown.rows % 2, shown.labels, truth) if method == "baseline" else truth
            kept = {"row": shown.rows, "label": shown.labels, "truth": truth, "predicted": predicted}
            np.savez(run_ / "fit-last.npz", **kept, origin=np.zeros_like(truth), probability=np.ones(len(truth)))
    for result in record.results:
        run_ = place / "runs" / result["name"]
        run_.mkdir(parents=True, exist_ok=True)
        (run_ / "result.json").write_text(json.dumps(result), encoding="utf-8")
        record.epochs[result["name"]].to_csv(run_ / "epochs.csv", index=False)
    about = {**record.study, "fingerprint": source.fingerprint}
    (place / "study.json").write_text(json.dumps(about), encoding="utf-8")
    return place
