"""Images to classify with a trained network: any data set, a folder of images at any depth or a single file.

Labels may be missing: those that are given are compared with the network's classes, by name.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from robustkd.data import sources
from robustkd.data.arrays import load_npz_pixels, open_npz
from robustkd.data.arrow_tables import read_huggingface_table, read_parquet_table
from robustkd.data.decode import decode_files, raise_if_unreadable
from robustkd.data.folders import read_class_names
from robustkd.data.image_formats import MAX_PIXELS
from robustkd.data.labels import RawValues, parse_parts
from robustkd.data.paths import to_writable_names
from robustkd.data.read_options import ColumnOptions, ReadOptions
from robustkd.data.resize import Pixels, fit_images
from robustkd.data.table_columns import RawTable, select_columns
from robustkd.data.tables import list_table_images, read_csv_table
from robustkd.data.value_range import ValueRange
from robustkd.data.view import PART_ALIASES
from robustkd.errors import UsageError, escape_controls

FILE_KINDS = ("folder", "csv", "parquet", "hf")  # of which images are resized files


class LabelledImages(NamedTuple):
    """Images with the labels that are given.

    Attributes:
        names: N file names, or "row 0" etc.
        images: (N, C, H, W).
        labels: the label of each image as a class name, None where there is none.
        parts: the part of each image: train, val or test; None if there is no split.
        notes: how the data were read, where that is not obvious.
        value_range: by which values of more than 8 bits were scaled.
    """

    names: list[str]
    images: Pixels
    labels: list[str | None]
    parts: list[str] | None = None
    notes: tuple[str, ...] = ()
    value_range: ValueRange | None = None


def load_labelled_images(
    name: str,
    shape: tuple[int, int, int],
    classes: Sequence[str],
    *,
    value_range: ValueRange | None = None,
    **read_options: Any,
) -> LabelledImages:
    """Load images in the shape that a network takes.

    Args:
        name: a data set as for `robustkd.data.sources.load_dataset`, a folder of images as folder:PATH, or an image file.
        shape: (C, H, W); images of another shape are scaled and cropped.
        classes: the network's classes, after which folders that are labels are recognised.
        value_range: by which values of more than 8 bits are scaled; None: the range that holds those of all files.
        read_options: the options of `load_dataset`, except image_size.

    Raises:
        UsageError: the data are missing or invalid.
    """
    kind, _, text = name.partition(":")
    path = Path(text).expanduser()
    if Path(name).expanduser().is_file():
        kind, text, path = "folder", name, Path(name).expanduser()
    if kind in FILE_KINDS and shape[1] != shape[2]:
        raise UsageError(f"{name}: the network takes images of {shape[1]}x{shape[2]}, but images of files are square")
    if kind == "folder" and text:
        return _load_files(path, shape, classes, value_range, _read_options(**read_options))
    if kind in FILE_KINDS and text:
        return _load_table(name, path, shape, value_range, _read_options(**read_options))
    if kind == "npz" and text:
        loaded = _load_npz(name, path, read_options.get("cache_dir"))
    else:
        loaded = _load_published(name, shape[1], **read_options)
    if loaded.images.shape[1:] == shape:
        return loaded
    note = f"images of {loaded.images.shape[1:]} are converted to {shape} (C, H, W)"
    return loaded._replace(images=fit_images(loaded.images, shape), notes=(*loaded.notes, note))


def _read_options(
    *,
    skip_bad_images: bool = False,
    image_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    root: str | None = None,
    header: bool = True,
    max_pixels: int = MAX_PIXELS,
    **_: Any,
) -> ReadOptions:
    """Return the options for tables and folders among those of `load_dataset`."""
    return ReadOptions(
        skip_bad_images=skip_bad_images,
        columns=ColumnOptions(image_column, label_column, split_column),
        root=None if root is None else Path(root).expanduser(),
        header=header,
        max_pixels=max_pixels,
    )


def _load_files(
    path: Path,
    shape: tuple[int, int, int],
    classes: Sequence[str],
    value_range: ValueRange | None,
    options: ReadOptions,
) -> LabelledImages:
    """Load image files; the label of each is the outermost folder that is called like a class."""
    files, images, value_range = sources.load_images(
        path,
        image_size=shape[1],
        channels=shape[0],
        skip_bad_images=options.skip_bad_images,
        value_range=value_range,
        max_pixels=options.max_pixels,
    )
    folders = [file.split("/")[:-1] for file in files]
    distinct = sorted({folder for above in folders for folder in above})
    names = dict(zip(distinct, read_class_names(path, distinct), strict=True)) if distinct else {}
    labels = [next((names[folder] for folder in above if names[folder] in classes), None) for above in folders]
    parts = [PART_ALIASES.get(above[0].lower(), "") if above else "" for above in folders]
    return LabelledImages(files, images, labels, parts if all(parts) else None, value_range=value_range)


def _load_table(
    name: str, path: Path, shape: tuple[int, int, int], value_range: ValueRange | None, options: ReadOptions
) -> LabelledImages:
    """Load the images of a table, which may lack labels."""
    raw: RawTable
    if name.startswith("csv:"):
        raw, options = read_csv_table(name, path, options)
    else:
        raw = (read_parquet_table if name.startswith("parquet:") else read_huggingface_table)(name, path)
    columns = select_columns(name, raw, options.columns, labelled=False)
    root, files, contents = list_table_images(name, raw, columns.image, options.root)
    images = np.empty((len(files), *shape), np.uint8)
    unreadable, value_range = decode_files(root, files, images, contents, value_range, options.max_pixels)
    raise_if_unreadable(name, len(files), unreadable, options.skip_bad_images)
    readable = [row for row, file in enumerate(files) if file not in unreadable]
    labels = _name_labels(columns.label, columns.class_names, len(files))
    parts = None if columns.split is None else parse_parts(name, columns.names.part, columns.split, raw.locate)
    return LabelledImages(
        list(to_writable_names([files[row] for row in readable])),
        images[readable] if unreadable else images,
        [labels[row] for row in readable],
        None if parts is None else parts[readable].tolist(),
        columns.notes,
        value_range,
    )


def _load_npz(name: str, path: Path, cache_dir: Path | None) -> LabelledImages:
    """Load the images of an npz file, which may lack labels."""
    reader, file = open_npz(name, path, labelled=False)
    pixels = load_npz_pixels(reader, file, cache_dir)
    lengths = reader.lengths()
    classes = reader.values("classes", file["classes"].size) if "classes" in file else None
    labels = _name_labels(reader.joined_values("y", lengths), classes, sum(lengths))
    words = reader.row_parts(lengths)
    parts = None if words is None else parse_parts(name, "split", words)
    return LabelledImages(
        [f"row {row}" for row in range(sum(lengths))],
        pixels.images,
        labels,
        None if parts is None else parts.tolist(),
        (*reader.notes, *pixels.notes),
    )


def _load_published(name: str, image_size: int, **read_options: Any) -> LabelledImages:
    """Load a data set that has labels for all images."""
    source = sources.load_dataset(name, image_size=image_size, **read_options)
    labels: list[str | None] = [source.classes[label] for label in source.labels.tolist()]
    parts = None if source.parts is None else source.parts.tolist()
    return LabelledImages([f"row {row}" for row in range(len(labels))], source.images, labels, parts, source.notes)


def _name_labels(values: RawValues | None, class_names: RawValues | None, count: int) -> list[str | None]:
    """Return labels as class names, None for missing ones: N."""
    if values is None:
        return [None] * count
    texts = {value: str(value) for value in set(values.tolist())}
    names = {value: escape_controls(text) if text.strip() else None for value, text in texts.items()}
    names[None] = None
    if class_names is not None and not any(isinstance(value, str) for value in names):
        known = range(len(class_names))
        names |= {v: escape_controls(str(class_names[int(v)])) if v in known else None for v in names if v is not None}
    return [names[value] for value in values.tolist()]
