"""Tables as a data set: a line per image, in a CSV or Parquet file or in a pandas frame.

    image        a path below the table's folder; in Parquet and frames also the encoded bytes themselves, or both as Hugging
                 Face writes them
    label        as given, and kept as text: 007, NA and None are names of classes
    split        if wanted: train, val or test
    group        if wanted: what no split divides
    clean_label  if wanted: the label that is known to be right, empty where none is

Other columns are of no concern here.
"""

import json
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from robustkd.data.csv_reader import read_csv_rows
from robustkd.data.decode import describe_error, raise_if_unreadable
from robustkd.data.image_cache import decode_with_cache
from robustkd.data.labels import RawValues, encode_labels
from robustkd.data.paths import require_file
from robustkd.data.view import Source
from robustkd.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

TABLE_COLUMNS = ("image", "label", "split", "group", "clean_label")
REQUIRED_COLUMNS = TABLE_COLUMNS[:2]


class DecodeOptions(NamedTuple):
    """How image files are read; see sources.read."""

    image_size: int = 32
    skip_bad_images: bool = False
    cache_dir: Path | None = None


class ImageTable(NamedTuple):
    """What the columns of a table hold, None where nothing is."""

    columns: dict[str, list[Any]]  # those of COLUMNS that there are
    root: Path  # where relative paths begin
    at: Callable[[int], str] = "row {}".format  # where a row is
    called: RawValues | None = None  # the names of labels that are numbers


def from_frame(
    frame: "pd.DataFrame",
    root: str | Path = ".",
    *,
    image_size: int = 32,
    skip_bad_images: bool = False,
    cache_dir: Path | None = None,
    flips: bool = True,
    name: str = "frame",
) -> Source:
    """A data set from a pandas frame with the columns above.

    Args:
        frame: a row per image; label and clean_label may be texts or whole numbers.
        root: the folder that paths in its column `image` begin at, and may not leave.
        image_size: the side that images are scaled and cropped to.
        skip_bad_images: leave out images that cannot be read, instead of refusing.
        cache_dir: where decoded images are kept; the user's cache folder unless told.
        flips: whether a mirrored image keeps its class.
        name: what errors and reports call it.

    Raises:
        UsageError: a column is missing or a value is not as it should be.

    >>> import pandas as pd
    >>> from_frame(pd.DataFrame({"Image": ["a.png"], "label": ["cat"]}))
    Traceback (most recent call last):
        ...
    robustkd.errors.UsageError: frame: there is no column 'image' (did you mean 'Image'?); there are: Image, label
    """
    _check_header(name, [str(column) for column in frame.columns])
    columns = {column: _column_values(frame[column]) for column in TABLE_COLUMNS if column in frame.columns}
    reading = DecodeOptions(image_size, skip_bad_images, cache_dir)
    return _build_source(name, ImageTable(columns, Path(root).expanduser()), reading, flips)


def load_csv(word: str, path: Path, reading: DecodeOptions) -> Source:
    """The data set in a CSV file; see lines.read."""
    (header, *rows), lines = read_csv_rows(word, path)
    _check_header(word, header)
    columns = {name: [row[header.index(name)] for row in rows] for name in TABLE_COLUMNS if name in header}
    return _build_source(word, ImageTable(columns, path.parent, lambda row: f"line {lines[row + 1]}"), reading)


def load_parquet(word: str, path: Path, reading: DecodeOptions) -> Source:
    """The data set in a Parquet file."""
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    try:
        file = pq.ParquetFile(require_file(word, path))
        schema = file.schema_arrow
        table = file.read(columns=[name for name in TABLE_COLUMNS if name in schema.names])
    except UsageError:
        raise
    except Exception as error:  # no Parquet file, a damaged one, one that may not be read
        why = describe_error(error).splitlines()[0]
        raise UsageError(f"{word}: {path} is no Parquet file that can be read ({why})") from error
    _check_header(word, schema.names)
    columns = {name: table[name].to_pylist() for name in table.column_names if name == "image"}
    columns |= {name: _column_values(table[name].to_pandas()) for name in table.column_names if name != "image"}
    try:  # what Hugging Face notes of the classes; notes of another form are nobody's fault
        names = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]["label"]["names"]
        called = np.array([str(name) for name in names]) if isinstance(names, list) else None
    except (KeyError, TypeError, ValueError):
        called = None
    return _build_source(word, ImageTable(columns, path.parent, called=called), reading)


def _check_header(word: str, header: Sequence[str]) -> None:
    """Refuse a header that lacks a column, has it twice, or has an optional one under almost its name."""
    listed = ", ".join(header[:20]) + (" and more" if len(header) > 20 else "")
    plain = {re.sub(r"[\W_]", "", name).lower(): name for name in header}
    for name in TABLE_COLUMNS:
        if header.count(name) > 1:
            raise UsageError(f"{word}: two columns are called '{name}'")
        near = plain.get(name.replace("_", ""))
        if name in header or (name not in REQUIRED_COLUMNS and near is None):
            continue
        hint = f" (did you mean '{near}'?)" if near is not None else did_you_mean(name, header)
        raise UsageError(
            f"{word}: there is no column '{name}'{hint}; there are: {listed}"
            if name in REQUIRED_COLUMNS
            else f"{word}: the column '{near}' would be read if it were called '{name}'"
        )


def _column_values(series: "pd.Series[Any]") -> list[Any]:
    """A column's values as Python's own, None where there is nothing; 1.0 is 1 where only a gap made it so."""
    series = series.convert_dtypes()
    values: list[Any] = series.astype(object).where(series.notna(), None).tolist()
    return values


def _build_source(word: str, table: ImageTable, reading: DecodeOptions, flips: bool = True) -> Source:
    if not table.columns["label"]:
        raise UsageError(f"{word}: it has a header, but no rows")
    values = {name: _to_raw_values(word, name, column) for name, column in table.columns.items() if name != "image"}
    said = encode_labels(
        word,
        values["label"],
        called=table.called,
        clean=values.get("clean_label"),
        groups=values.get("group"),
        parts=values.get("split"),
        at=table.at,
    )
    files, contents = _list_table_images(word, table)
    images, pixels, bad = decode_with_cache(table.root, files, reading.image_size, reading.cache_dir, contents)
    raise_if_unreadable(word, len(files), bad, reading.skip_bad_images)
    good = np.array([file not in bad for file in files])
    said = said.take(good)
    if lost := said.untrained():
        raise UsageError(f"{word}: there are no readable images to train on of {', '.join(lost)}")
    left = tuple(file for file in files if file not in bad)
    return said.source(word, images, flips=flips, pixels=pixels, files=left, skipped=tuple(bad))


def _to_raw_values(word: str, name: str, column: list[Any]) -> RawValues:
    """A column of texts or of whole numbers, with gaps: (N,)."""
    kinds = set(map(type, column)) - {type(None)}
    if kinds - {str} and kinds - {int} and kinds - {bool}:
        found = " and ".join(sorted(kind.__name__ for kind in kinds))
        raise UsageError(f"{word}: the column '{name}' holds {found}, but texts or whole numbers are wanted")
    values = np.empty(len(column), object)
    values[:] = column
    return values


def _list_table_images(word: str, table: ImageTable) -> tuple[list[str], dict[str, bytes]]:
    """The file of each row, relative to the root; and what is in those that the table itself holds, by name.

    What has no path, or one that another row has too, is named by its row.
    """
    roots = [place.as_posix() for place in (table.root.absolute(), table.root.resolve())]
    files, held = [], {}
    for row, value in enumerate(table.columns["image"]):
        both = value if isinstance(value, dict) else {"bytes" if isinstance(value, bytes) else "path": value}
        path, content = both.get("path"), both.get("bytes")
        if content is not None:
            files.append(path or f"row {row}")
            held[row] = content
        elif isinstance(path, str) and path.strip():
            files.append(_relative_to_root(word, table, roots, row, path))
        elif path:
            raise UsageError(
                f"{word}: {table.at(row)}: the image is of type {type(path).__name__}, neither path nor bytes"
            )
        else:
            raise UsageError(f"{word}: {table.at(row)} has no image")
    times = Counter(files)
    for row in held:
        if times[files[row]] > 1:
            files[row] = f"row {row}"
    return files, {files[row]: content for row, content in held.items()}


def _relative_to_root(word: str, table: ImageTable, roots: Sequence[str], row: int, path: str) -> str:
    """A path below the root, with slashes."""
    file = path.replace("\\", "/")
    for root in roots:
        file = file.removeprefix(f"{root}/")
    file = posixpath.normpath(file)
    if file == ".." or file.startswith(("/", "../")) or re.match("[A-Za-z]:", file):
        raise UsageError(f"{word}: {table.at(row)}: '{path}' leaves {table.root}, where the images have to be")
    return file
