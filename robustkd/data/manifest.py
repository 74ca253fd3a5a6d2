"""A scenario frozen into files: which rows are shown, under which labels, in which split. Everything else reads these.

`NAME.csv` has a line per sample (split, row, label, truth), `NAME.json` the card: scenario, data set, class names, seeds
and digests. Reloading checks the digests, and refuses the manifest of another data set.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from robustkd.data.view import Source, View
from robustkd.words import UsageError


class Splits(NamedTuple):
    """The views of one data seed: the scenario has gone over the first two, the third is never touched."""

    train: View
    held_out: View
    test: View


def save(path: Path, views: Splits, card: dict[str, Any]) -> None:
    """Write PATH.csv and PATH.json."""
    frames = []
    for split, view in views._asdict().items():
        truth = view.truth if view.truth is not None else np.full(len(view), -1)
        frames.append(pd.DataFrame({"split": split, "row": view.rows, "label": view.labels, "truth": truth}))
    pd.concat(frames).to_csv(path.with_suffix(".csv"), index=False)
    source = views.train.sources[0]
    card = {
        **card,
        "dataset": source.name,
        "fingerprint": source.fingerprint,
        "classes": source.classes,
        "data_seed": views.train.seed,
        "place": views.train.place,
        "digest": {split: view.digest for split, view in views._asdict().items()},
    }
    path.with_suffix(".json").write_text(json.dumps(card, indent=2, ensure_ascii=False))


def load(path: Path, source: Source) -> Splits:
    """The views as they were saved.

    Raises:
        UsageError: the manifest is of another data set, or its files do not belong together.
    """
    card = json.loads(path.with_suffix(".json").read_text())
    if card["fingerprint"] != source.fingerprint:
        raise UsageError(
            f"{path}: this manifest was made of '{card['dataset']}' ({card['fingerprint']}), not of '{source.name}'"
        )
    table = pd.read_csv(path.with_suffix(".csv"), dtype={"split": str, "row": int, "label": int})
    views = {}
    for split in Splits._fields:
        chosen = table[table["split"] == split]
        rows, labels = (
            chosen[name].to_numpy(copy=True) for name in ("row", "label")
        )  # pandas hands out read-only ones
        view = View((source,), rows, labels, card["data_seed"], card["place"])
        if view.digest != card["digest"][split]:
            raise UsageError(f"{path.with_suffix('.csv')}: its {split} rows are not those of its card")
        views[split] = view
    return Splits(**views)
