"""A scenario frozen into files: which rows are shown, under which labels, in which split. Everything else reads these.

`NAME.csv` (or NAME.parquet, which is smaller) has a line per sample: split, row, label, truth, and origin where images of
other data sets are shown: 0 for its own, else which of them. `NAME.json` is the card: scenario, data sets, class names, seeds
and digests. Reloading checks the digests, and refuses the manifest of another data set.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from robustkd.data import sources
from robustkd.data.view import Source, View
from robustkd.words import UsageError


class Splits(NamedTuple):
    """The views of one data seed: the scenario has gone over the first two, the third is never touched."""

    train: View
    held_out: View
    test: View


def save(path: Path, views: Splits, card: dict[str, Any]) -> None:
    """Write PATH.csv, or PATH.parquet where that is what the path says, and PATH.json."""
    frames = []
    for split, view in views._asdict().items():
        truth = view.truth if view.truth is not None else np.full(len(view), -1)
        columns = {"split": split, "row": view.rows, "label": view.labels, "truth": truth}
        if any(other.origin is not None for other in views):
            columns["origin"] = np.zeros(len(view), np.int64) if view.origin is None else view.origin
        frames.append(pd.DataFrame(columns))
    table = pd.concat(frames)
    if path.suffix == ".parquet":
        table.to_parquet(path, index=False)
    else:
        table.to_csv(path.with_suffix(".csv"), index=False)
    source = views.train.sources[0]
    card = {
        **card,
        "dataset": source.name,
        "fingerprint": source.fingerprint,
        "classes": source.classes,
        "foreign": {
            split: [[other.name, other.fingerprint] for other in view.sources[1:]]
            for split, view in views._asdict().items()
            if len(view.sources) > 1
        },
        "data_seed": views.train.seed,
        "place": views.train.place,
        "digest": {split: view.digest for split, view in views._asdict().items()},
    }
    path.with_suffix(".json").write_text(json.dumps(card, indent=2, ensure_ascii=False), encoding="utf-8")


def load(path: Path, source: Source) -> Splits:
    """The views as they were saved; the images of other data sets among them are read again.

    Raises:
        UsageError: the manifest is of another data set, or its files do not belong together.
    """
    card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    if card["fingerprint"] != source.fingerprint:
        raise UsageError(
            f"{path}: this manifest was made of '{card['dataset']}' ({card['fingerprint']}), not of '{source.name}'"
        )
    packed = path if path.suffix == ".parquet" else path.with_suffix(".csv")
    table = pd.read_parquet(packed) if packed.suffix == ".parquet" else pd.read_csv(packed, dtype={"split": str})
    views = {}
    for split in Splits._fields:
        chosen = table[table["split"] == split]
        others = tuple(_foreign(path, name, known, source) for name, known in card.get("foreign", {}).get(split, []))
        names = ("row", "label", *(["origin"] if others else []))
        rows, labels, *origin = (chosen[name].to_numpy(np.int64, copy=True) for name in names)  # pandas' are read-only
        view = View((source, *others), rows, labels, card["data_seed"], card["place"], origin[0] if others else None)
        if view.digest != card["digest"][split]:
            raise UsageError(f"{packed}: its {split} rows are not those of its card")
        views[split] = view
    return Splits(**views)


def _foreign(path: Path, name: str, fingerprint: str, beside: Source) -> Source:
    """A data set that lends images, which must be what it was."""
    found = sources.foreign(name, beside)
    if found.fingerprint != fingerprint:
        raise UsageError(f"{path}: '{name}', which lends it images, is not what it was when this manifest was made")
    return found
