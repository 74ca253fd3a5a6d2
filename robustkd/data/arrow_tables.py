"""Image data sets in Parquet files and in folders that Hugging Face's `save_to_disk` wrote.

Several Parquet files (a folder, or a pattern with * or ?) are one data set. Its parts are those that the files are named
after, as in train-00000-of-00002.parquet or train/0000.parquet. Each split of a `datasets` folder is a part. Class names are
taken from the metadata that Hugging Face writes.
"""

import json
import re
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from robustkd.data.decode import describe_error
from robustkd.data.image_search import is_hidden
from robustkd.data.paths import describe_missing_path, require_file
from robustkd.data.read_options import ReadOptions
from robustkd.data.row_values import ArrowValues
from robustkd.data.table_columns import RawTable
from robustkd.data.tables import column_values, table_to_source
from robustkd.data.view import PART_ALIASES, Source
from robustkd.errors import UsageError


def load_parquet(name: str, path: Path, options: ReadOptions) -> Source:
    """Load the data set in a Parquet file, in a folder of them, or in those that match a pattern."""
    return table_to_source(name, read_parquet_table(name, path), options)


def load_huggingface(name: str, path: Path, options: ReadOptions) -> Source:
    """Load the data set in a folder that `datasets.Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote."""
    return table_to_source(name, read_huggingface_table(name, path), options)


def read_parquet_table(name: str, path: Path) -> RawTable:
    """Read Parquet files as one table, without loading columns that are not used.

    Raises:
        UsageError: there is no such file, a file is damaged, or some but not all files are named after a part.
    """
    folder, files = _list_parquet_files(name, path)
    parts = [_part_of_file(file.relative_to(folder)) for file in files]
    if len(files) == 1 or not any(parts):
        parts = []
    elif not all(parts):
        raise UsageError(
            f"{name}: {files[parts.index('')]} is not named after train, val or test, but {files[_first(parts)]} is"
        )
    return _join_tables(name, folder, [_ParquetFile(name, file) for file in files], parts)


def read_huggingface_table(name: str, path: Path) -> RawTable:
    """Read the splits of a folder written by `save_to_disk` as one table.

    Raises:
        UsageError: it is no such folder, a file is damaged, or a split is none of train, val and test.
    """
    if not path.is_dir():
        raise UsageError(
            f"{name}: {path} is a file, not a folder that save_to_disk wrote"
            if path.exists()
            else describe_missing_path(name, path)
        )
    splits = _read_json(name, path / "dataset_dict.json").get("splits", [])
    if not splits and not (path / "state.json").is_file():
        raise UsageError(
            f"{name}: {path} has neither dataset_dict.json nor state.json, so save_to_disk of Hugging Face's datasets did"
            " not write it"
        )
    unknown = next((split for split in splits if split.lower() not in PART_ALIASES), None)
    if unknown is not None:
        raise UsageError(
            f"{name}: the split '{unknown}' of {path} is none of train, val and test: remove it from dataset_dict.json"
        )
    tables, parts = [], []
    for folder, part in [(path / split, PART_ALIASES[split.lower()]) for split in splits] or [(path, "")]:
        for entry in _read_json(name, folder / "state.json").get("_data_files", []):
            tables.append(_ArrowFile(name, require_file(name, folder / entry["filename"])))
            parts.append(part)
    if not tables:
        raise UsageError(f"{name}: {path} lists no data files")
    return _join_tables(name, path, tables, parts if len(splits) > 1 else [])


class _ArrowFile:
    """A file of Hugging Face's datasets: a stream of record batches, memory-mapped."""

    def __init__(self, name: str, path: Path) -> None:
        import pyarrow as pa  # type: ignore[import-untyped]

        try:
            self.table = pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
        except Exception as error:  # what a damaged file raises depends on the damage
            raise _damaged_file(name, path, "Arrow", error) from error
        self.path, self.schema, self.rows = path, self.table.schema, self.table.num_rows

    def column(self, column: str) -> Any:
        """Return a column as a ChunkedArray."""
        return self.table[column]


class _ParquetFile:
    """A Parquet file, of which columns are read one by one."""

    def __init__(self, name: str, path: Path) -> None:
        import pyarrow.parquet as pq  # type: ignore[import-untyped]

        self.name, self.path = name, path
        try:
            self.file = pq.ParquetFile(require_file(name, path))
            self.schema, self.rows = self.file.schema_arrow, self.file.metadata.num_rows
        except UsageError:
            raise
        except Exception as error:  # not a Parquet file, a damaged one, or one without read permission
            raise _damaged_file(name, path, "Parquet", error) from error

    def column(self, column: str) -> Any:
        """Return a column as a ChunkedArray."""
        try:
            return self.file.read(columns=[column])[column]
        except Exception as error:  # a damaged page
            raise _damaged_file(self.name, self.path, "Parquet", error) from error


def _damaged_file(name: str, path: Path, kind: str, error: Exception) -> UsageError:
    reason = describe_error(error).splitlines()[0]
    return UsageError(f"{name}: {path} is not a readable {kind} file ({reason})")


def _join_tables(
    name: str, folder: Path, tables: Sequence[_ParquetFile | _ArrowFile], parts: Sequence[str]
) -> RawTable:
    """Return files with the same columns as one table."""
    first = tables[0]
    header = list(first.schema.names)
    for table in tables[1:]:
        if different := sorted(set(header) ^ set(table.schema.names)):
            raise UsageError(
                f"{name}: {first.path} and {table.path} have different columns ({', '.join(different[:5])})"
            )
    ends = list(accumulate(table.rows for table in tables))

    def locate(row: int) -> str:
        if len(tables) == 1:
            return f"row {row}"
        number = int(np.searchsorted(ends, row, side="right"))
        return f"row {row - (ends[number] - tables[number].rows)} of {tables[number].path.relative_to(folder)}"

    def column(wanted: str) -> Sequence[Any]:
        kinds = {table.schema.field(wanted).type for table in tables}
        if all(map(_is_scalar, kinds)):
            return [value for table in tables for value in column_values(table.column(wanted).to_pandas())]
        if len(kinds) > 1:
            raise UsageError(f"{name}: the column '{wanted}' has several types: {', '.join(sorted(map(str, kinds)))}")
        return ArrowValues(_join_columns([table.column(wanted) for table in tables]))

    scalars = [field.name for field in first.schema if _is_scalar(field.type)]
    rows_parts = [part for part, table in zip(parts, tables, strict=False) for _ in range(table.rows)]
    names = _class_names(first.schema.metadata or {})
    return RawTable(header, column, scalars, folder, locate, names, rows_parts or None)


def _join_columns(columns: Sequence[Any]) -> Any:
    """Return ChunkedArrays of one type as one."""
    import pyarrow as pa

    return pa.chunked_array([chunk for column in columns for chunk in column.chunks], columns[0].type)


def _is_scalar(kind: Any) -> bool:
    """Return whether a column contains texts, numbers or booleans."""
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    tests = (types.is_integer, types.is_floating, types.is_boolean, types.is_string, types.is_large_string)
    return any(test(kind) for test in tests)


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """Return the class names by column in Hugging Face's metadata; metadata of another form is ignored."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"].items()
        return {
            column: list(map(str, feature["names"]))
            for column, feature in features
            if isinstance(feature, dict) and isinstance(feature.get("names"), list)
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def _list_parquet_files(name: str, path: Path) -> tuple[Path, list[Path]]:
    """Return the Parquet files at a path, and the folder that image paths are relative to."""
    if path.is_file() or not (path.is_dir() or re.search(r"[*?\[]", str(path))):
        return path.parent, [path]
    if path.is_dir():
        files = [file for suffix in ("parquet", "pq") for file in path.rglob(f"*.{suffix}")]
        folder = path
    else:
        folder = Path(*_plain_parts(path))
        pattern = str(path.relative_to(folder))
        files = [file for file in folder.glob(pattern) if file.is_file()]
    files = sorted(file for file in files if not any(map(is_hidden, file.relative_to(folder).parts)))
    if not files:
        raise UsageError(f"{name}: there are no Parquet files {'in' if path.is_dir() else 'that match'} {path}")
    return folder, files


def _plain_parts(path: Path) -> list[str]:
    """Return the leading parts of a path that contain no pattern."""
    parts = []
    for part in path.parts:
        if re.search(r"[*?\[]", part):
            break
        parts.append(part)
    return parts


def _part_of_file(file: Path) -> str:
    """Return the part that a file is named after: by the first word of its name, or by a folder; empty if by neither.

    >>> [_part_of_file(Path(file)) for file in ("train-00000-of-00001.parquet", "data/validation/0000.parquet", "a.parquet")]
    ['train', 'val', '']
    """
    words = [re.split(r"[-_.]", file.stem)[0], *reversed(file.parent.parts)]
    return next((PART_ALIASES[word.lower()] for word in words if word.lower() in PART_ALIASES), "")


def _first(parts: Sequence[str]) -> int:
    """Return the index of the first file that is named after a part."""
    return next(index for index, part in enumerate(parts) if part)


def _read_json(name: str, path: Path) -> dict[str, Any]:
    """Read a JSON object; empty if there is no such file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise UsageError(f"{name}: {path} cannot be read ({error})") from None
    return content if isinstance(content, dict) else {}
