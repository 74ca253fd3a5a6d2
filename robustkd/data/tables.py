"""Image data sets as tables with one row per image: a CSV file, a Parquet file or a pandas data frame.

    image        a path relative to the table's folder; in Parquet files and data frames also the encoded bytes, or both as
                 written by Hugging Face
    label        as given, and kept as text: 007, NA and None are class names
    split        optional: train, val or test
    group        optional: rows of a group are never divided between splits
    clean_label  optional: the label if it is known to be correct, or empty

Other columns are ignored.
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
from robustkd.data.read_options import ReadOptions
from robustkd.data.view import Source
from robustkd.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

TABLE_COLUMNS = ("image", "label", "split", "group", "clean_label")
REQUIRED_COLUMNS = TABLE_COLUMNS[:2]


class ImageTable(NamedTuple):
    """The columns of a table, with None for missing values."""

    columns: dict[str, list[Any]]  # those of TABLE_COLUMNS that exist
    root: Path  # the folder that paths are relative to
    locate: Callable[[int], str] = "row {}".format  # describes a row's location
    class_names: RawValues | None = None  # for labels that are integers


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
    """Create a data set from a pandas data frame with the columns above.

    Args:
        frame: a row per image; label and clean_label may be texts or integers.
        root: the folder that paths in the column `image` are relative to; they must not leave it.
        image_size: the side that images are scaled and cropped to.
        skip_bad_images: skip images that cannot be read instead of raising an error.
        cache_dir: where decoded images are cached; None: the user's cache folder.
        flips: whether a mirrored image keeps its class.
        name: the data set's name in errors and reports.

    Raises:
        UsageError: a column is missing or contains an invalid value.

    >>> import pandas as pd
    >>> from_frame(pd.DataFrame({"Image": ["a.png"], "label": ["cat"]}))
    Traceback (most recent call last):
        ...
    robustkd.errors.UsageError: frame: there is no column 'image' (did you mean 'Image'?); there are: Image, label
    """
    _check_header(name, [str(column) for column in frame.columns])
    columns = {column: _column_values(frame[column]) for column in TABLE_COLUMNS if column in frame.columns}
    options = ReadOptions(image_size, skip_bad_images, cache_dir)
    return _build_source(name, ImageTable(columns, Path(root).expanduser()), options, flips)


def load_csv(name: str, path: Path, options: ReadOptions) -> Source:
    """Load the data set in a CSV file; see robustkd.data.csv_reader."""
    (header, *rows), line_numbers = read_csv_rows(name, path)
    _check_header(name, header)
    columns = {column: [row[header.index(column)] for row in rows] for column in TABLE_COLUMNS if column in header}
    return _build_source(name, ImageTable(columns, path.parent, lambda row: f"line {line_numbers[row + 1]}"), options)


def load_parquet(name: str, path: Path, options: ReadOptions) -> Source:
    """Load the data set in a Parquet file."""
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    try:
        file = pq.ParquetFile(require_file(name, path))
        schema = file.schema_arrow
        table = file.read(columns=[column for column in TABLE_COLUMNS if column in schema.names])
    except UsageError:
        raise
    except Exception as error:  # not a Parquet file, a damaged one, or one without read permission
        reason = describe_error(error).splitlines()[0]
        raise UsageError(f"{name}: {path} is not a readable Parquet file ({reason})") from error
    _check_header(name, schema.names)
    columns = {column: table[column].to_pylist() for column in table.column_names if column == "image"}
    columns |= {column: _column_values(table[column].to_pandas()) for column in table.column_names if column != "image"}
    try:  # class names in Hugging Face's metadata; metadata of another form is ignored
        names = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]["label"]["names"]
        class_names = np.array([str(class_name) for class_name in names]) if isinstance(names, list) else None
    except (KeyError, TypeError, ValueError):
        class_names = None
    return _build_source(name, ImageTable(columns, path.parent, class_names=class_names), options)


def _check_header(name: str, header: Sequence[str]) -> None:
    """Raise a UsageError if a column is missing, repeated, or optional and misspelt in case or punctuation."""
    listed = ", ".join(header[:20]) + (" and more" if len(header) > 20 else "")
    normalised = {re.sub(r"[\W_]", "", column).lower(): column for column in header}
    for column in TABLE_COLUMNS:
        if header.count(column) > 1:
            raise UsageError(f"{name}: two columns are called '{column}'")
        similar = normalised.get(column.replace("_", ""))
        if column in header or (column not in REQUIRED_COLUMNS and similar is None):
            continue
        hint = f" (did you mean '{similar}'?)" if similar is not None else did_you_mean(column, header)
        raise UsageError(
            f"{name}: there is no column '{column}'{hint}; there are: {listed}"
            if column in REQUIRED_COLUMNS
            else f"{name}: the column '{similar}' must be called '{column}'"
        )


def _column_values(series: "pd.Series[Any]") -> list[Any]:
    """Return a column as Python values, with None for missing ones; integers that a gap made floats are integers again."""
    series = series.convert_dtypes()
    values: list[Any] = series.astype(object).where(series.notna(), None).tolist()
    return values


def _build_source(name: str, table: ImageTable, options: ReadOptions, flips: bool = True) -> Source:
    if not table.columns["label"]:
        raise UsageError(f"{name}: it has a header, but no rows")
    values = {column: _to_raw_values(name, column, v) for column, v in table.columns.items() if column != "image"}
    annotations = encode_labels(
        name,
        values["label"],
        class_names=table.class_names,
        clean=values.get("clean_label"),
        groups=values.get("group"),
        parts=values.get("split"),
        locate=table.locate,
    )
    files, contents = _list_table_images(name, table)
    images, images_digest, unreadable = decode_with_cache(
        table.root, files, options.image_size, options.cache_dir, contents
    )
    raise_if_unreadable(name, len(files), unreadable, options.skip_bad_images)
    annotations = annotations.take(np.array([file not in unreadable for file in files]))
    if untrained := annotations.classes_without_training_rows():
        raise UsageError(f"{name}: there are no readable images to train on of {', '.join(untrained)}")
    readable = tuple(file for file in files if file not in unreadable)
    return annotations.to_source(
        name, images, flips=flips, images_digest=images_digest, files=readable, skipped=tuple(unreadable)
    )


def _to_raw_values(name: str, column: str, values: list[Any]) -> RawValues:
    """Return a column of texts, integers or booleans as an array of objects: (N,)."""
    types = set(map(type, values)) - {type(None)}
    if types - {str} and types - {int} and types - {bool}:
        found = " and ".join(sorted(kind.__name__ for kind in types))
        raise UsageError(f"{name}: the column '{column}' contains {found}, but must contain texts or integers only")
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _list_table_images(name: str, table: ImageTable) -> tuple[list[str], dict[str, bytes]]:
    """Return the file name of each row, relative to the root, and the contents by file name that the table holds itself.

    A content without a path, or with a path that another row has too, is named by its row.
    """
    roots = [root.as_posix() for root in (table.root.absolute(), table.root.resolve())]
    files, content_of_row = [], {}
    for row, value in enumerate(table.columns["image"]):
        image = value if isinstance(value, dict) else {"bytes" if isinstance(value, bytes) else "path": value}
        path, content = image.get("path"), image.get("bytes")
        if content is not None:
            files.append(path or f"row {row}")
            content_of_row[row] = content
        elif isinstance(path, str) and path.strip():
            files.append(_relative_to_root(name, table, roots, row, path))
        elif path:
            raise UsageError(
                f"{name}: {table.locate(row)}: the image is of type {type(path).__name__}, neither path nor bytes"
            )
        else:
            raise UsageError(f"{name}: {table.locate(row)} has no image")
    times = Counter(files)
    for row in content_of_row:
        if times[files[row]] > 1:
            files[row] = f"row {row}"
    return files, {files[row]: content for row, content in content_of_row.items()}


def _relative_to_root(name: str, table: ImageTable, roots: Sequence[str], row: int, path: str) -> str:
    """Return a path relative to the root, with slashes."""
    file = path.replace("\\", "/")
    for root in roots:
        file = file.removeprefix(f"{root}/")
    file = posixpath.normpath(file)
    if file == ".." or file.startswith(("/", "../")) or re.match("[A-Za-z]:", file):
        raise UsageError(
            f"{name}: {table.locate(row)}: '{path}' is outside {table.root}, the folder that all images must be in"
        )
    return file
