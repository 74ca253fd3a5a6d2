"""Manifests: a scenario's result as files that list the rows and labels of each split.

`NAME.csv` (or NAME.parquet, which is smaller) has a row per sample: split, row, label, truth, and, if images of other data sets
are shown, origin: 0 for the data set's own images, or else the number of the foreign source. `NAME.json` is the card: scenario,
data sets, class names, seeds and digests. Loading verifies the digests and refuses the manifest of another data set.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from robustkd.atomic import write_atomically, write_text_atomically
from robustkd.data import sources
from robustkd.data.paths import describe_missing_path
from robustkd.data.splits import SplitRows
from robustkd.data.view import Source, View, digest_rows
from robustkd.errors import UsageError
from robustkd.hashing import json_digest

TABLE_SUFFIXES = (".csv", ".parquet")
_NameAndFingerprint = Annotated[list[str], Field(min_length=2, max_length=2)]  # of a data set


class _ManifestCard(BaseModel):
    """The entries of a card that are read; others are for people."""

    model_config = ConfigDict(strict=True)

    dataset: str
    fingerprint: str
    data_seed: int
    place: int
    digest: dict[str, str]  # by split
    foreign: dict[str, list[_NameAndFingerprint]] = {}  # by split


class Splits(NamedTuple):
    """The views of one data seed. The scenario is applied to the first two and never to the test split."""

    train: View
    held_out: View
    test: View


def build_splits(scenario: Callable[[View], View], source: Source, rows: SplitRows, seed: int) -> Splits:
    """Apply a scenario to the training and held-out rows; the test rows keep their published labels."""
    train = scenario(View.of(source, rows.train, seed))
    scale = len(rows.held_out) / len(rows.train)
    held_out = View.of(source, rows.held_out, seed, scale=scale, training=False)
    return Splits(train, scenario(held_out) if len(held_out) else held_out, View.of(source, rows.test, seed))


def save_manifest(path: Path, views: Splits, card: dict[str, Any]) -> None:
    """Write PATH.csv, or PATH.parquet if the path has that suffix, and PATH.json.

    Args:
        path: the table, its card, or both without their suffix.
        views: the splits.
        card: further fields for the card, such as the scenario.
    """
    frames = []
    for split, view in views._asdict().items():
        truth = view.truth if view.truth is not None else np.full(len(view), -1)
        columns = {"split": split, "row": view.rows, "label": view.labels, "truth": truth}
        if any(other.origin is not None for other in views):
            columns["origin"] = np.zeros(len(view), np.int64) if view.origin is None else view.origin
        frames.append(pd.DataFrame(columns))
    table = pd.concat(frames)
    table_file, card_file = manifest_paths(path)
    to_file = table.to_parquet if table_file.suffix == ".parquet" else table.to_csv
    write_atomically(table_file, lambda file: to_file(file, index=False))
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
    content = json.loads(json.dumps(card))
    write_text_atomically(
        card_file, json.dumps({**content, "checksum": json_digest(content)}, indent=2, ensure_ascii=False)
    )


def load_manifest(path: Path, source: Source) -> Splits:
    """Load the views of a manifest; foreign data sets are loaded again.

    Args:
        path: the table, its card, or both without their suffix.
        source: the data set that the manifest was made from.

    Raises:
        UsageError: a file is missing or damaged, the manifest is of another data set, or table and card do not match.
    """
    table_file, card_file = manifest_paths(path)
    if path.suffix not in TABLE_SUFFIXES and not table_file.is_file() and table_file.with_suffix(".parquet").is_file():
        table_file = table_file.with_suffix(".parquet")
    for file in (table_file, card_file):
        if not file.is_file():
            folder = next((candidate for candidate in (path, file) if candidate.is_dir()), None)
            raise UsageError(
                f"manifest: {folder} is a folder, not a file" if folder else describe_missing_path("manifest", file)
            )
    card = read_card(card_file)
    if card["fingerprint"] != source.fingerprint:
        raise UsageError(
            f"{path}: this manifest was made from '{card['dataset']}' ({card['fingerprint']}), not from '{source.name}'"
            f" ({source.fingerprint})"
        )
    table = _read_table(table_file)
    views = {}
    for split in Splits._fields:
        chosen = (table["split"] == split).to_numpy()
        foreign = [
            _reload_foreign(path, name, digest, source) for name, digest in card.get("foreign", {}).get(split, [])
        ]
        rows, labels = (_integer_column(table_file, table, name)[chosen] for name in ("row", "label"))
        origin = _integer_column(table_file, table, "origin")[chosen] if foreign else None
        view = View((source, *foreign), rows, labels, card["data_seed"], card["place"], origin)
        if view.digest != card["digest"].get(split):
            raise UsageError(f"{table_file}: its {split} rows do not match its card")
        views[split] = view
    return Splits(**views)


def check_manifest(path: Path) -> None:
    """Check that a manifest's table and card are whole and match, without the data sets.

    Raises:
        UsageError: a file is missing or damaged.
    """
    table_file, card_file = manifest_paths(path)
    card, table = read_card(card_file), _read_table(table_file)
    for split, recorded in card["digest"].items():
        chosen = (table["split"] == split).to_numpy()
        foreign = [fingerprint for _, fingerprint in card.get("foreign", {}).get(split, [])]
        rows, labels = (_integer_column(table_file, table, name)[chosen] for name in ("row", "label"))
        origin = _integer_column(table_file, table, "origin")[chosen] if foreign else None
        if digest_rows([card["fingerprint"], *foreign], rows, labels, origin) != recorded:
            raise UsageError(f"{table_file}: its {split} rows do not match its card")


def manifest_paths(path: Path) -> tuple[Path, Path]:
    """Return the paths of a manifest's table and card; the table is a CSV file unless the path ends in .parquet.

    >>> [file.name for file in manifest_paths(Path("noise0.4"))]
    ['noise0.4.csv', 'noise0.4.json']
    """
    path = path.expanduser()
    stem = path.with_suffix("") if path.suffix in (*TABLE_SUFFIXES, ".json") else path
    table_file = stem.with_name(stem.name + (path.suffix if path.suffix in TABLE_SUFFIXES else ".csv"))
    return table_file, stem.with_name(stem.name + ".json")


def read_card(file: Path) -> dict[str, Any]:
    """Read a manifest's card.

    Raises:
        UsageError: the file cannot be read or is not a card.
    """
    try:
        card = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file}: this is not a manifest's card: it cannot be read as JSON ({error})") from None
    card = card if isinstance(card, dict) else {}
    try:
        _ManifestCard.model_validate(card)
    except ValidationError as error:
        wrong = dict.fromkeys(str(entry["loc"][0]) for entry in error.errors())
        raise UsageError(f"{file}: this is not a manifest's card: it lacks a valid {', '.join(wrong)}") from None
    if card.pop("checksum", None) not in (None, json_digest(card)):
        raise UsageError(f"{file}: this manifest's card is damaged: its content does not match its checksum")
    return dict(card)


def _read_table(file: Path) -> pd.DataFrame:
    try:
        table = pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file, dtype={"split": str})
    except Exception as error:  # what a damaged file raises depends on its format
        reason = " ".join(str(error).split())
        raise UsageError(f"{file}: this is not a manifest: it cannot be read ({reason})") from None
    missing = [name for name in ("split", "row", "label") if name not in table]
    if missing:
        columns = ", ".join(map(str, table))
        raise UsageError(
            f"{file}: this is not a manifest: it has no column {' and no '.join(missing)}; it has: {columns}"
        )
    return table


def _integer_column(file: Path, table: pd.DataFrame, name: str) -> NDArray[np.int64]:
    """Return a column of integers: (n,)."""
    if name not in table:
        raise UsageError(f"{file}: its card names foreign data sets, but it has no column {name} that refers to them")
    if not pd.api.types.is_integer_dtype(table[name]):
        raise UsageError(f"{file}: its column {name} must contain only integers")
    return table[name].to_numpy(np.int64, copy=True)  # pandas' own array is read-only


def _reload_foreign(path: Path, name: str, fingerprint: str, own: Source) -> Source:
    """Load a foreign data set, which must be unchanged; a path that does not exist is tried relative to the manifest."""
    kind, _, place = name.partition(":")
    relative = path.parent / place
    use_relative = place and relative.exists() and not Path(place).exists()
    source = sources.load_foreign_dataset(f"{kind}:{relative}" if use_relative else name, own)
    if source.fingerprint != fingerprint:
        raise UsageError(f"{path}: '{name}', a source of foreign images, has changed since this manifest was made")
    return source
