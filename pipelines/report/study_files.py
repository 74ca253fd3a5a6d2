"""What a study's folder knows beyond its results: what each class was shown as, and the images themselves."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustkd.study.comparison import Comparison
from robustkd.study.results import TEACHER

SHOWN = 24  # corrupted samples that are shown


@dataclass(frozen=True)
class Files:
    """What is read from a study's folder; nothing of it where there is none."""

    folder: Path | None
    counts: "pd.Series[float] | None" = None  # training images shown as each class, mean over the draws
    transitions: NDArray[np.int64] | None = (
        None  # true class in rows, label shown in columns, over all draws; own images
    )
    digests: Mapping[str, str] = field(default_factory=dict)  # of what each data seed was shown, in training
    why: str = ""  # what is missing, and why

    @classmethod
    def of(cls, made: Comparison) -> "Files":
        """Read what there is; a folder that lacks it, or holds something else, is none."""
        if made.folder is None:
            return cls(None, why="it needs the study's files, and this was read from MLflow")
        names = class_names(made)
        try:
            cards = sorted(made.folder.glob("manifest-*.json"))
            digests = {
                c.stem.removeprefix("manifest-"): json.loads(c.read_text(encoding="utf-8"))["digest"]["train"]
                for c in cards
            }
            tables = [train_rows(card.with_suffix(".csv")) for card in cards]
            counts = [np.bincount(table["label"], minlength=len(names)) for table in tables]
            known = [table[(table["truth"] >= 0) & (table["origin"] == 0)] for table in tables]
            matrix = np.zeros((len(names), len(names)), np.int64)
            for table in known:
                np.add.at(matrix, (table["truth"].to_numpy(), table["label"].to_numpy()), 1)
            if not cards:
                return cls(made.folder, why="the study's manifests are not there")
            sizes = pd.Series(dict(zip(names, np.mean(counts, axis=0).tolist(), strict=True)), dtype=float)
            return cls(made.folder, sizes, matrix if matrix.any() else None, digests)
        except (OSError, ValueError, KeyError, IndexError) as error:
            told = " ".join(str(error).split())
            return cls(made.folder, why=f"the study's manifests cannot be read ({told[:200]})")

    def thumbs(self, made: Comparison, best: str, reference: str | None) -> tuple[list[dict[str, Any]], int, int, int]:
        """Thumbnails of what a method recovered, in the first seed that it and its reference have.

        Returns:
            SHOWN of them at most, the seed, how many it recovered, and under how many of these the reference gives the wrong
            label; those come first, then by row.

        Raises:
            Exception: whatever keeps the images from being read.
        """
        from dataclasses import replace

        from pipelines.report import contact_sheet
        from robustkd.study.run_folder import load_source

        if self.folder is None:
            raise OSError("they need the study's files, and this was read from MLflow.")
        runs = {(r.run.method, r.run.seed): r.name for r in made.results if r.run.role != TEACHER}
        pair = [name for name in (reference, best) if name]
        fits = {}
        for seed in range(made.record.seeds):
            paths = [self.folder / "runs" / runs.get((name, seed), "-") / "fit-last.npz" for name in pair]
            if all(path.exists() for path in paths):
                fits = {name: dict(np.load(path)) for name, path in zip(pair, paths, strict=True)}
                break
        if not fits:
            raise OSError("the answers on the training images (fit-last.npz) are not there.")
        own = fits[best]
        right = (own["truth"] >= 0) & (own["truth"] != own["label"]) & (own["predicted"] == own["truth"])
        right &= own.get("origin", np.zeros_like(own["row"])) == 0
        base = fits[reference] if reference else None
        if base is not None and not np.array_equal(base["row"], own["row"]):
            base = None
        memorised = np.zeros(len(right), bool) if base is None else base["predicted"] == own["label"]
        order = np.lexsort((own["row"], ~memorised))
        chosen = order[right[order]][:SHOWN]
        if not len(chosen):
            raise OSError(f"{best} recovered none.")
        source = load_source(replace(made.record.options, download=False))
        if source.fingerprint != made.record.fingerprint:
            raise OSError("the data set there now is not the one that the study was made of.")
        found = []
        for place in chosen:
            row, names = int(own["row"][place]), source.classes
            given, truth = names[own["label"][place]], names[own["truth"][place]]
            uri, small = contact_sheet.thumbnail(source, row)
            said = [("label", given, "wrong"), ("truth", truth, "right")]
            if base is not None:
                says = names[base["predicted"][place]]
                said.append(("baseline", says, "right" if says == truth else "wrong"))
            said.append(("best", truth, "right"))
            alt = f"Training image {row}: labelled {given}, truly {truth}"
            found.append({"uri": uri, "small": small, "said": said, "alt": alt})
        return found, seed, int(right.sum()), int((right & memorised).sum())


def train_rows(path: Path) -> pd.DataFrame:
    """The training rows of a manifest."""
    table = pd.read_csv(path, dtype={"split": "category"})
    table = table[table["split"] == "train"]
    return table if "origin" in table else table.assign(origin=0)


def class_names(made: Comparison) -> list[str]:
    """The classes, in label order."""
    return made.record.classes
