"""Images as Python users hold them, read into arrays: torch and Hugging Face data sets, frames and lists of paths or images.

    torch Dataset        items (image, label); torchvision's ImageFolder without a transform is read as files
    Hugging Face Dataset columns with images and labels, found by their names as in a table
    pandas DataFrame     the same; a Series of paths has images only
    list                 paths, PIL images, arrays, tensors, encoded bytes, items (image, label), or rows as dictionaries
    tensor               as an array

Image files are scaled and cropped to squares, as in studies. Other images keep their size where all have one, and are fitted
to squares otherwise.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustkd.data.decode import decode_files, raise_if_unreadable
from robustkd.data.image_arrays import channels_last, to_uint8_images
from robustkd.data.read_options import ColumnOptions
from robustkd.data.resize import fit_images, to_grey_or_colour
from robustkd.data.table_columns import RawTable, select_columns
from robustkd.data.value_range import ValueRange
from robustkd.errors import UsageError

ACCEPTED = (
    "an array or tensor of images, a torch Dataset, a Hugging Face Dataset, a pandas frame with paths, or a list of paths or"
    " images"
)
Values = NDArray[Any]


class ImageCollection(NamedTuple):
    """Images, and the labels that came with them.

    Attributes:
        images: (n, H, W), (n, H, W, C) or (n, features), with values as given.
        labels: (n,) class names where the collection has any, or else as given; None if it has no labels.
        value_range: by which files of more than 8 bits were scaled; None if there are none.
        from_files: whether the images were decoded from files.
    """

    images: Values
    labels: Values | None = None
    value_range: ValueRange | None = None
    from_files: bool = False


class ReadingOptions(NamedTuple):
    """How images are read: see `robustkd.estimator`."""

    image_size: int = 32
    white: float | None = None
    value_range: ValueRange | None = None


def read_collection(X: Any, options: ReadingOptions = ReadingOptions()) -> ImageCollection | None:  # noqa: N803, B008
    """Read images from whatever holds them.

    Returns:
        None for what is already an array, or a list of numbers.

    Raises:
        UsageError: it holds no images, or they cannot be read or put into one array.
    """
    if _is_tensor(X):
        return ImageCollection(_tensor_to_array(X))
    if isinstance(X, (str, bytes, os.PathLike)) or X is None:
        kind = "None" if X is None else f"{X!r}"
        raise UsageError(f"X is {kind}, but {ACCEPTED} is wanted")
    if hasattr(X, "iloc"):  # pandas
        return _read_frame(X, options)
    if hasattr(X, "column_names") and hasattr(X, "features"):
        return _read_image_table(list(X.column_names), lambda column: X[column], _feature_names(X.features), options)
    if isinstance(X, Mapping):  # a batch of rows of a Hugging Face Dataset
        return _read_image_table([*map(str, X)], lambda column: X[column], {}, options)
    if hasattr(X, "dataset") and hasattr(X, "batch_sampler"):
        raise UsageError(f"X is a {type(X).__name__}: pass its data set, X.dataset; batches are made while training")
    if isinstance(X, np.ndarray):
        return _read_items(X.tolist(), (), options) if X.dtype.kind in "OUS" and X.ndim == 1 and len(X) else None
    if isinstance(X, (list, tuple)):
        return _read_list(X, options)
    if hasattr(X, "__getitem__") and hasattr(X, "__len__") and not hasattr(X, "shape"):
        return _read_dataset(X, options)
    if hasattr(X, "__array__") or hasattr(X, "shape"):
        return None
    if isinstance(X, Iterable):
        raise UsageError(f"X is a {type(X).__name__} without a length: pass list(X), or {ACCEPTED}")
    return None


def _read_frame(frame: Any, options: ReadingOptions) -> ImageCollection | None:
    """Read a pandas DataFrame or Series of paths; one of numbers is an array."""
    if not hasattr(frame, "columns"):
        return None if frame.dtype.kind in "biuf" else _read_items(frame.tolist(), (), options)
    if all(kind.kind in "biufcV" for kind in frame.dtypes) or not len(frame.columns):
        return None
    if len(frame.columns) == 1:
        return _read_items(frame.iloc[:, 0].tolist(), (), options)
    return _read_image_table([*map(str, frame.columns)], lambda column: frame[column].tolist(), {}, options)


def _read_list(items: Sequence[Any], options: ReadingOptions) -> ImageCollection | None:
    """Read a list of images, paths or labelled items; None for one of numbers, or of lists of numbers."""
    if not len(items):
        return None
    first = items[0]
    if isinstance(first, Mapping):
        columns = [str(name) for name in first]
        try:
            return _read_image_table(columns, lambda column: [item[column] for item in items], {}, options)
        except (KeyError, TypeError):
            raise UsageError(f"X is a list whose items do not all have the columns {', '.join(columns)}") from None
    if _is_image(first) or _is_labelled(first):
        return _read_items(items, (), options)
    try:
        np.asarray(items)
    except ValueError:  # NumPy calls its shape inhomogeneous
        raise UsageError(
            f"X is a list of {len(items)} nested lists that form no array, since their lengths differ: pass images as arrays"
        ) from None
    return None


def _read_dataset(dataset: Any, options: ReadingOptions) -> ImageCollection:
    """Read a torch Dataset, item by item unless it lists files that it does not transform."""
    names: Any = dataset
    while not hasattr(names, "classes") and hasattr(names, "dataset"):
        names = names.dataset  # of a Subset
    classes = tuple(map(str, getattr(names, "classes", ()) or ()))
    samples = getattr(dataset, "samples", None)
    untransformed = all(
        getattr(dataset, name, None) is None for name in ("transform", "target_transform", "transforms")
    )
    if samples is not None and untransformed and len(samples) == len(dataset):
        return _read_items(list(samples), classes, options)
    return _read_items([dataset[row] for row in range(len(dataset))], classes, options)


def _read_image_table(
    header: list[str],
    column: Callable[[str], Iterable[Any]],
    class_names: Mapping[str, list[str]],
    options: ReadingOptions,
) -> ImageCollection:
    """Read images and labels from the columns of a table."""

    def values(name: str) -> list[Any]:
        return [_to_scalar(value) for value in column(name)]

    raw = RawTable(header, values, header, Path())
    try:
        columns = select_columns("X", raw, ColumnOptions(split="none"), labelled=False)
    except UsageError as error:  # without the options, which only files have
        raise UsageError(re.sub(r"[;:] --\S+.*$", "", str(error))) from None
    images, value_range, from_files = _read_images(columns.image, options)
    names = () if columns.class_names is None else tuple(class_names[columns.names.label])
    if not names and columns.names.label in class_names:
        names = tuple(class_names[columns.names.label])
    labels = None if columns.label is None else _to_labels(columns.label.tolist(), names)
    return ImageCollection(images, labels, value_range, from_files)


def _read_items(items: Sequence[Any], classes: Sequence[str], options: ReadingOptions) -> ImageCollection:
    """Read a list of images, or of (image, label).

    Args:
        classes: names of the labels, if these are numbers from 0.
    """
    labelled = _is_labelled(items[0]) if len(items) else False
    if not len(items) or any(_is_labelled(item) != labelled for item in items):
        raise UsageError("X has no images" if not len(items) else "X has items with a label and items without one")
    images, value_range, from_files = _read_images([item[0] if labelled else item for item in items], options)
    labels = _to_labels([item[1] for item in items], classes) if labelled else None
    return ImageCollection(images, labels, value_range, from_files)


def _read_images(values: Sequence[Any], options: ReadingOptions) -> tuple[Values, ValueRange | None, bool]:
    """Read files, contents of files, PIL images and arrays: n of one kind."""
    contents = [_file_of(value) for value in values]
    if all(content is not None for content in contents):
        images, value_range = _decode([content for content in contents if content is not None], options)
        return images, value_range, True
    for row, (value, content) in enumerate(zip(values, contents, strict=True)):
        if content is not None or not _is_image(value):
            wanted = "an image" if content is None else "an image as before, not a file,"
            raise UsageError(f"X: item {row} is a {type(value).__name__}, but {wanted} is wanted")
    return _stack([_to_pixels(value) for value in values], options), None, False


def _decode(files: Sequence[str | bytes], options: ReadingOptions) -> tuple[Values, ValueRange | None]:
    """Decode image files, given by their paths or contents."""
    names = [file if isinstance(file, str) else f"item {row}" for row, file in enumerate(files)]
    contents = {name: file for name, file in zip(names, files, strict=True) if isinstance(file, bytes)}
    pixels = np.empty((len(files), 3, options.image_size, options.image_size), np.uint8)
    unreadable, value_range = decode_files(Path(), names, pixels, contents, options.value_range)
    raise_if_unreadable("X", len(files), unreadable, skip_bad_images=False, skippable=False)
    return pixels.transpose(0, 2, 3, 1), value_range


def _stack(images: Sequence[Values], options: ReadingOptions) -> Values:
    """Put images of one size into an array; fit those of different sizes to squares: (n, H, W, C)."""
    kinds = {image.dtype.kind for image in images}
    if len(kinds) > 1:
        raise UsageError("X has images of integers and images of other numbers: white is not the same in both")
    colour = any(image.shape[-1] == 3 for image in images)
    images = [np.repeat(image, 3, axis=-1) if colour and image.shape[-1] == 1 else image for image in images]
    if len({image.shape for image in images}) == 1:
        return np.stack(images)
    shape = (3 if colour else 1, options.image_size, options.image_size)
    fitted = [
        fit_images(to_uint8_images(image[None], None, options.white).transpose(0, 3, 1, 2), shape) for image in images
    ]
    return np.concatenate(fitted).transpose(0, 2, 3, 1)


def _to_pixels(image: Any) -> Values:
    """Return an image as an array (H, W, C) with values as given."""
    if hasattr(image, "getbands"):  # PIL
        image = to_grey_or_colour(image) if not image.mode.startswith(("I", "F")) else image
    array = _tensor_to_array(image) if _is_tensor(image) else np.asarray(image)
    if array.ndim not in (2, 3):
        raise UsageError(f"X has an image of shape {array.shape}, but (H, W), (H, W, C) or (C, H, W) is wanted")
    pixels: Values = channels_last(array[None])[0]
    if pixels.shape[-1] not in (1, 3):
        raise UsageError(f"X has an image of shape {array.shape}, but one or three channels are wanted")
    return pixels


def _to_labels(labels: Sequence[Any], classes: Sequence[str]) -> Values:
    """Return labels as an array, by name where the names of numbers from 0 are known: (n,)."""
    values: list[Any] = [_to_scalar(value) for value in labels]
    for row, value in enumerate(values):
        if not isinstance(value, (int, str, float)):
            raise UsageError(f"X: the label of item {row} is a {type(value).__name__}, but a number or text is wanted")
    if classes and all(isinstance(value, int) and 0 <= value < len(classes) for value in values):
        values = [classes[value] for value in values]
    return np.array(values)


def _file_of(value: Any) -> str | bytes | None:
    """Return the path or the content of an image file, None for what is neither."""
    if isinstance(value, Mapping):  # Hugging Face's images, not decoded
        content = value.get("bytes")
        value = value.get("path") if content is None else content
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    file: str | bytes | None = value if isinstance(value, (str, bytes)) else None
    return os.path.expanduser(file) if isinstance(file, str) else file


def _is_image(value: Any) -> bool:
    """Return whether a value is a file, a PIL image, or an array or tensor of two or three axes."""
    is_array = (isinstance(value, np.ndarray) or _is_tensor(value)) and value.ndim >= 2
    return is_array or hasattr(value, "getbands") or _file_of(value) is not None


def _is_labelled(value: Any) -> bool:
    """Return whether a value is an item (image, label)."""
    return isinstance(value, (list, tuple)) and len(value) == 2 and _is_image(value[0]) and not _is_image_pair(value)


def _is_image_pair(value: Sequence[Any]) -> bool:
    return isinstance(value[1], np.ndarray) and value[1].ndim >= 2


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "detach") and hasattr(value, "cpu")


def _to_scalar(value: Any) -> Any:
    """Return the number that an array or tensor without axes holds; other values are unchanged."""
    return value.item() if isinstance(value, np.generic) or (_is_tensor(value) and value.ndim == 0) else value


def _tensor_to_array(tensor: Any) -> Values:
    tensor = tensor.detach().cpu()
    array: Values = (tensor.float() if tensor.dtype.is_floating_point else tensor).numpy()
    return array


def _feature_names(features: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the class names of the label columns of a Hugging Face Dataset, by column."""
    return {name: list(feature.names) for name, feature in features.items() if getattr(feature, "names", None)}
