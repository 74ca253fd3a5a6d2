"""Image data sets as tables with one row per image: CSV files and data frames; Parquet files are in arrow_tables.

    image        a path relative to the table's folder or to --root, with or without the ending; in Parquet files and data
                 frames also the encoded bytes, or both as written by Hugging Face
    label        as given, and kept as text: 007, NA and None are class names
    split        optional: train, val or test
    group        optional: rows of a group are never divided between splits
    clean_label  optional: the label if it is known to be correct, or empty

Other common names of these columns are recognised; see robustkd.data.table_columns. Other columns are ignored.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from robustkd.data.csv_reader import read_csv_rows
from robustkd.data.decode import raise_if_unreadable
from robustkd.data.image_cache import decode_with_cache
from robustkd.data.image_formats import MAX_PIXELS
from robustkd.data.labels import Annotations, encode_labels
from robustkd.data.read_options import ColumnOptions, ReadOptions
from robustkd.data.row_values import ImageContents
from robustkd.data.table_columns import RawTable, TableColumns, select_columns
from robustkd.data.table_paths import PathResolver
from robustkd.data.view import Source
from robustkd.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd


class TableImages(NamedTuple):
    """Where the images of a table are."""

    root: Path
    files: list[str]  # relative to the root
    contents: Mapping[str, bytes]  # by file, of the images that the table itself holds


def from_frame(
    frame: "pd.DataFrame",
    root: str | Path = ".",
    *,
    columns: ColumnOptions = ColumnOptions(),  # noqa: B008  # it is immutable
    image_size: int = 32,
    skip_bad_images: bool = False,
    cache_dir: Path | None = None,
    max_pixels: int = MAX_PIXELS,
    flips: bool = True,
    name: str = "frame",
) -> Source:
    """Create a data set from a pandas data frame with the columns above.

    Args:
        frame: a row per image; label and clean_label may be texts or integers.
        root: the folder that paths in the column `image` are relative to; they must not leave it.
        columns: the columns that have other names; None for those to be recognised.
        image_size: the side that images are scaled and cropped to.
        skip_bad_images: skip images that cannot be read, or have over `max_pixels` pixels, instead of raising an error.
        cache_dir: where decoded images are cached; None: the user's cache folder.
        flips: whether a mirrored image keeps its class.
        name: the data set's name in errors and reports.

    Raises:
        UsageError: a column is missing or contains an invalid value.

    >>> import pandas as pd
    >>> from_frame(pd.DataFrame({"Image": ["a.png"], "kind": ["cat"]}))
    Traceback (most recent call last):
        ...
    robustkd.errors.UsageError: frame: there is no column 'label'; there are: Image, kind; --label-column names the one that \
holds the labels
    """
    header = [str(column) for column in frame.columns]
    raw = RawTable(header, lambda key: column_values(frame.iloc[:, header.index(key)]), header, Path(root).expanduser())
    return table_to_source(
        name, raw, ReadOptions(image_size, skip_bad_images, cache_dir, columns, max_pixels=max_pixels), flips
    )


def load_csv(name: str, path: Path, options: ReadOptions) -> Source:
    """Load the data set in a CSV file; see robustkd.data.csv_reader."""
    return table_to_source(name, *read_csv_table(name, path, options))


def read_csv_table(name: str, path: Path, options: ReadOptions) -> tuple[RawTable, ReadOptions]:
    """Read a CSV file; without a header its columns are called 1, 2, ..., and of two the first is the image."""
    rows, line_numbers = read_csv_rows(name, path, spaces=not options.header)
    header = rows[0]
    if options.header:
        rows, line_numbers = rows[1:], line_numbers[1:]
    else:
        header = [str(number + 1) for number in range(len(rows[0]))]
        if len(header) == 2:
            image, label, split = options.columns
            options = options._replace(columns=ColumnOptions(image or "1", label or "2", split))
    places = {column: place for place, column in reversed(list(enumerate(header)))}
    raw = RawTable(
        header,
        lambda column: [row[places[column]] for row in rows],
        header,
        path.parent,
        lambda row: f"line {line_numbers[row]}",
    )
    return raw, options


def column_values(series: "pd.Series[Any]") -> list[Any]:
    """Return a column as Python values, with None for missing ones; integers that a gap made floats are integers again."""
    series = series.convert_dtypes()
    values: list[Any] = series.astype(object).where(series.notna(), None).tolist()
    return values


def table_to_source(name: str, raw: RawTable, options: ReadOptions, flips: bool = True) -> Source:
    """Encode the labels of a table, and decode its images.

    Raises:
        UsageError: a column is missing or contains an invalid value, or an image cannot be read.
    """
    columns = select_columns(name, raw, options.columns)
    raw, columns = _drop_unlabelled_rows(raw, columns)
    annotations = _encode_columns(name, raw, columns, options.every_class_trained)
    root, files, contents = list_table_images(name, raw, columns.image, options.root)
    images, images_digest, unreadable, value_range = decode_with_cache(
        root, files, options.decoded_size, options.cache_dir, contents, options.value_range, options.max_pixels
    )
    raise_if_unreadable(name, len(files), unreadable, options.skip_bad_images)
    annotations = annotations.take(np.array([file not in unreadable for file in files]))
    untrained = annotations.classes_without_training_rows()
    if untrained and options.every_class_trained:
        raise UsageError(
            f"{name}: there are no readable images to train on of {', '.join(untrained)}; --min-class 1 leaves such classes out"
        )
    readable = tuple(file for file in files if file not in unreadable)
    return annotations.to_source(
        name,
        images,
        flips=flips,
        images_digest=images_digest,
        files=readable,
        skipped=tuple(unreadable),
        notes=columns.notes,
        value_range=value_range,
        root=root,
        crop=options.crop,
    )


def _drop_unlabelled_rows(raw: RawTable, columns: TableColumns) -> tuple[RawTable, TableColumns]:
    """Remove the rows whose label is -1, which means that there is none where class names are given for integers."""
    if columns.class_names is None or columns.label is None:
        return raw, columns
    rows = np.flatnonzero([value != -1 for value in columns.label.tolist()])
    removed = len(columns.label) - len(rows)
    if not removed or not len(rows):
        return raw, columns
    notes = (
        *columns.notes,
        f"{removed:,} row{'s' * (removed > 1)} without a label (-1) {'are' if removed > 1 else 'is'} not used",
    )
    kept = columns.take(rows)._replace(notes=notes)
    return raw._replace(locate=lambda row: raw.locate(int(rows[row]))), kept


def _encode_columns(name: str, raw: RawTable, columns: TableColumns, every_class_trained: bool) -> Annotations:
    assert columns.label is not None
    return encode_labels(
        name,
        columns.label,
        class_names=columns.class_names,
        clean=columns.clean_label,
        groups=columns.group,
        parts=columns.split,
        columns=columns.names,
        locate=raw.locate,
        every_class_trained=every_class_trained,
    )


def list_table_images(name: str, raw: RawTable, images: Sequence[Any], root: Path | None) -> TableImages:
    """Return where the images are. A content without a path, or with a path that another row has too, is named by its row.

    Args:
        name: the data set's name, for error messages.
        raw: the table.
        images: the column of images: N paths, numbers, bytes or both path and bytes.
        root: the folder that paths are relative to; None: the table's folder.

    Raises:
        UsageError: a row has no image, one of another type, or a path outside the root.
    """
    paths: list[str | None] = []
    embedded: dict[int, str | None] = {}  # the path by row, of images that the table holds
    for row, value in enumerate(images):
        image = value if isinstance(value, dict) else {"bytes" if isinstance(value, bytes) else "path": value}
        path = image.get("path")
        if image.get("bytes") is not None:
            embedded[row] = path
            paths.append(None)
        elif type(path) is int or (isinstance(path, str) and path.strip()):
            paths.append(str(path))
        elif path:
            raise UsageError(
                f"{name}: {raw.locate(row)}: the image is of type {type(path).__name__}, neither path nor bytes"
            )
        else:
            raise UsageError(f"{name}: {raw.locate(row)} has no image")
    resolver = PathResolver(name, raw.folder, root, raw.locate)
    files = resolver.complete_endings(resolver.relative_paths(paths))
    if not embedded:
        resolver.check_root(files)
    for row, path in embedded.items():
        files[row] = path or f"row {row}"
    times = Counter(files)
    for row in embedded:
        if times[files[row]] > 1:
            files[row] = f"row {row}"
    return TableImages(resolver.base, files, ImageContents(images, {files[row]: row for row in embedded}))
