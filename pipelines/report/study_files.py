"""What a study's folder has in addition to its results: the labels that training images were shown under."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustkd.study.comparison import Comparison


@dataclass(frozen=True)
class StudyFiles:
    """What the manifests of a study's folder say; nothing where there is no folder.

    Attributes:
        counts: training images shown as each class, mean over the draws of the scenario.
        transitions: (K, K) counts, true class in rows, label shown in columns, of the data set's own images, over all draws;
            None where no truth is known.
        digests: of the training rows, by data seed.
        missing: what is missing and why, or an empty string.
    """

    folder: Path | None
    counts: "pd.Series[float] | None" = None
    transitions: NDArray[np.int64] | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    missing: str = ""


def read_study_files(comparison: Comparison) -> StudyFiles:
    """Read the manifests; those that are missing or damaged are described instead."""
    folder = comparison.folder
    if folder is None:
        return StudyFiles(None, missing="it requires the study's files, and this study was read from MLflow")
    cards = sorted(folder.glob("manifest-*.json"))
    if not cards:
        return StudyFiles(folder, missing="the study's manifests are missing")
    names = comparison.record.classes
    try:
        digests = {
            card.stem.removeprefix("manifest-"): json.loads(card.read_text(encoding="utf-8"))["digest"]["train"]
            for card in cards
        }
        tables = [_read_train_rows(card.with_suffix(".csv")) for card in cards]
        counts = [np.bincount(table["label"], minlength=len(names)) for table in tables]
        sizes = pd.Series(dict(zip(names, np.mean(counts, axis=0).tolist(), strict=True)), dtype=float)
        transitions = np.zeros((len(names), len(names)), np.int64)
        for table in tables:
            known = table[(table["truth"] >= 0) & (table["origin"] == 0)]
            np.add.at(transitions, (known["truth"].to_numpy(), known["label"].to_numpy()), 1)
    except (OSError, ValueError, KeyError, IndexError) as error:
        message = " ".join(str(error).split())
        return StudyFiles(folder, missing=f"the study's manifests cannot be read ({message[:200]})")
    return StudyFiles(folder, sizes, transitions if transitions.any() else None, digests)


def _read_train_rows(path: Path) -> pd.DataFrame:
    """Read the training rows of a manifest."""
    table = pd.read_csv(path, dtype={"split": "category"})
    table = table[table["split"] == "train"]
    return table if "origin" in table else table.assign(origin=0)
