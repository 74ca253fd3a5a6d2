"""A scenario frozen into files: which rows are shown, under which labels, in which split. Everything else reads these.

`NAME.csv` (or NAME.parquet, which is smaller) has a line per sample: split, row, label, truth, and origin where images of
other data sets are shown: 0 for its own, else which of them. `NAME.json` is the card: scenario, data sets, class names, seeds
and digests. Reloading checks the digests, and refuses the manifest of another data set.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustkd.data import sources
from robustkd.data.paths import describe_missing_path
from robustkd.data.splits import SplitRows
from robustkd.data.view import Source, View
from robustkd.errors import UsageError

TABLE_SUFFIXES = (".csv", ".parquet")
CARD_FIELDS = {"dataset": str, "fingerprint": str, "data_seed": int, "place": int, "digest": dict}  # of a card


class Splits(NamedTuple):
    """The views of one data seed: the scenario has gone over the first two, the third is never touched."""

    train: View
    held_out: View
    test: View


def build_splits(scenario: Callable[[View], View], source: Source, rows: SplitRows, seed: int) -> Splits:
    """What a data seed is shown: the scenario goes over the training and the held-out rows, never over the test."""
    train = scenario(View.of(source, rows.train, seed))
    scale = len(rows.held_out) / len(rows.train)
    held_out = View.of(source, rows.held_out, seed, scale=scale, training=False)
    return Splits(train, scenario(held_out) if len(held_out) else held_out, View.of(source, rows.test, seed))


def save_manifest(path: Path, views: Splits, card: dict[str, Any]) -> None:
    """Write PATH.csv, or PATH.parquet where that is what the path says, and PATH.json."""
    frames = []
    for split, view in views._asdict().items():
        truth = view.truth if view.truth is not None else np.full(len(view), -1)
        columns = {"split": split, "row": view.rows, "label": view.labels, "truth": truth}
        if any(other.origin is not None for other in views):
            columns["origin"] = np.zeros(len(view), np.int64) if view.origin is None else view.origin
        frames.append(pd.DataFrame(columns))
    table = pd.concat(frames)
    to, about = manifest_paths(path)
    if to.suffix == ".parquet":
        table.to_parquet(to, index=False)
    else:
        table.to_csv(to, index=False)
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
        "place": views.train.position,
        "digest": {split: view.digest for split, view in views._asdict().items()},
    }
    about.write_text(json.dumps(card, indent=2, ensure_ascii=False), encoding="utf-8")


def load_manifest(path: Path, source: Source) -> Splits:
    """The views as they were saved; the images of other data sets among them are read again.

    Args:
        path: the table, its card, or both without their suffix.
        source: the data set it was made of.

    Raises:
        UsageError: a file is missing or broken, the manifest is of another data set, or its files do not belong together.
    """
    to, about = manifest_paths(path)
    if path.suffix not in TABLE_SUFFIXES and not to.is_file() and to.with_suffix(".parquet").is_file():
        to = to.with_suffix(".parquet")
    for file in (to, about):
        if not file.is_file():
            folder = next((place for place in (path, file) if place.is_dir()), None)
            raise UsageError(
                f"manifest: {folder} is a folder, not a file" if folder else describe_missing_path("manifest", file)
            )
    card = read_card(about)
    if card["fingerprint"] != source.fingerprint:
        raise UsageError(
            f"{path}: this manifest was made of '{card['dataset']}' ({card['fingerprint']}), not of '{source.name}'"
            f" ({source.fingerprint})"
        )
    table = _read_table(to)
    views = {}
    for split in Splits._fields:
        chosen = (table["split"] == split).to_numpy()
        others = tuple(
            _reload_foreign(path, name, known, source) for name, known in card.get("foreign", {}).get(split, [])
        )
        rows, labels = (_integer_column(to, table, name)[chosen] for name in ("row", "label"))
        origin = _integer_column(to, table, "origin")[chosen] if others else None
        view = View((source, *others), rows, labels, card["data_seed"], card["place"], origin)
        if view.digest != card["digest"].get(split):
            raise UsageError(f"{to}: its {split} rows are not those of its card")
        views[split] = view
    return Splits(**views)


def manifest_paths(path: Path) -> tuple[Path, Path]:
    """The table and the card that a path names: a CSV unless it says Parquet.

    >>> [file.name for file in manifest_paths(Path("noise0.4"))]
    ['noise0.4.csv', 'noise0.4.json']
    """
    path = path.expanduser()
    stem = path.with_suffix("") if path.suffix in (*TABLE_SUFFIXES, ".json") else path
    to = stem.with_name(stem.name + (path.suffix if path.suffix in TABLE_SUFFIXES else ".csv"))
    return to, stem.with_name(stem.name + ".json")


def read_card(file: Path) -> dict[str, Any]:
    """What a manifest's card says.

    Raises:
        UsageError: it cannot be read, or is none.
    """
    try:
        card = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{file}: this is no manifest's card: it cannot be read as JSON ({error})") from None
    card = card if isinstance(card, dict) else {}
    absent = [key for key, kind in CARD_FIELDS.items() if not isinstance(card.get(key), kind)]
    absent += [] if isinstance(card.get("foreign", {}), dict) else ["foreign"]
    if absent:
        raise UsageError(f"{file}: this is no manifest's card: it does not say its {', '.join(absent)}")
    return dict(card)


def _read_table(file: Path) -> pd.DataFrame:
    try:
        table = pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file, dtype={"split": str})
    except Exception as error:  # what a damaged file raises depends on its format
        raise UsageError(f"{file}: this is no manifest: it cannot be read ({' '.join(str(error).split())})") from None
    absent = [name for name in ("split", "row", "label") if name not in table]
    if absent:
        there = ", ".join(map(str, table))
        raise UsageError(f"{file}: this is no manifest: it has no column {' and no '.join(absent)}; it has: {there}")
    return table


def _integer_column(file: Path, table: pd.DataFrame, name: str) -> NDArray[np.int64]:
    """A column of whole numbers: (n,)."""
    if name not in table:
        raise UsageError(f"{file}: its card names other data sets, but it has no column {name} that says which images")
    if not pd.api.types.is_integer_dtype(table[name]):
        raise UsageError(f"{file}: its column {name} should hold whole numbers throughout")
    return table[name].to_numpy(np.int64, copy=True)  # pandas' own are read-only


def _reload_foreign(path: Path, name: str, fingerprint: str, beside: Source) -> Source:
    """A data set that lends images, which must be what it was; a path that leads nowhere is tried beside the manifest."""
    kind, _, place = name.partition(":")
    near = path.parent / place
    found = sources.load_foreign_dataset(
        f"{kind}:{near}" if place and near.exists() and not Path(place).exists() else name, beside
    )
    if found.fingerprint != fingerprint:
        raise UsageError(f"{path}: '{name}', which lends it images, is not what it was when this manifest was made")
    return found
