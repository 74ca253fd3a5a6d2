"""Data sets as arrays, in memory or in an npz file, and any data set written as such a file.

X        (N, H, W), (N, H, W, C) or (N, C, H, W) with C of 1 or 3: uint8, or numbers from 0 to 1 or from 0 to 255
y        (N,) or (N, 1) labels, integers or texts, or (N, K) with a single 1 in each row
X_test   and y_test: the test rows, and X_val and y_val; alternatively split, for all rows: (N,) of train, val and test
classes  names of labels that are integers from 0
clean    (N,) clean labels where known, -1 or "" elsewhere; clean_test for the test rows
group    (N,) rows of a group are never divided between splits; group_test for the test rows
flips    whether a mirrored image keeps its class; false if missing

Other common names of these arrays are recognised, such as x_train, train_images and arr_0; see robustkd.data.array_names.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robustkd.data.array_names import recognise_names
from robustkd.data.array_values import ArrayReader
from robustkd.data.image_cache import default_cache_dir, scratch_dir
from robustkd.data.npz_file import MAP_BYTES, NpzFile
from robustkd.data.paths import require_file
from robustkd.data.pixel_cache import ConvertedPixels, load_pixels, store_pixels
from robustkd.data.pixel_formats import PixelFormat, convert_pixels, detect_format
from robustkd.data.read_options import ReadOptions
from robustkd.data.view import Source
from robustkd.errors import UsageError

# The corresponding parameters of from_arrays, for error messages.
_PARAMETER_NAMES = {
    **{"X": "images", "y": "labels", "X_test": "test[0]", "y_test": "test[1]", "group": "groups"},
    **{"group_test": "groups_test", "split": "parts"},
}


def from_arrays(
    images: ArrayLike,
    labels: ArrayLike,
    *,
    classes: ArrayLike | None = None,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    parts: ArrayLike | None = None,
    clean: ArrayLike | None = None,
    clean_test: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    groups_test: ArrayLike | None = None,
    flips: bool = False,
    name: str = "arrays",
) -> Source:
    """Create a data set from arrays.

    Args:
        images: (N, H, W), (N, H, W, C) or (N, C, H, W) with C of 1 or 3: uint8, or numbers from 0 to 1 or from 0 to 255.
        labels: (N,) or (N, 1) integers or texts, or (N, K) with a single 1 in each row; they are not assumed to be true.
        classes: names for labels that are integers from 0.
        test: images and labels of the test split; alternatively `parts`, (N,) of "train", "val" and "test".
        clean: (N,) clean labels where known, and -1 or "" elsewhere; `clean_test` those of the test split.
        groups: (N,) integers or texts; a group is never divided between splits; `groups_test` those of the test split.
        flips: whether a mirrored image keeps its class.
        name: the data set's name in errors and reports.

    Raises:
        UsageError: an array has an invalid type, shape or value.

    >>> images = np.zeros((4, 8, 8, 3), np.uint8)
    >>> source = from_arrays(images, ["cat", "dog", "cat", "dog"], clean=["cat", "cat", "", ""])
    >>> source.classes, source.labels.tolist(), source.truth.tolist()
    (('cat', 'dog'), [0, 1, 0, 1], [0, 0, -1, -1])
    """
    test_arrays: dict[str, Any] = {} if test is None else {"X_test": test[0], "y_test": test[1]}
    values = {"X": images, "y": labels, **test_arrays, "classes": classes, "split": parts, "flips": flips}
    values |= {"clean": clean, "clean_test": clean_test, "group": groups, "group_test": groups_test}
    arrays = {key: np.asarray(value) for key, value in values.items() if value is not None}
    reader = ArrayReader(name, arrays, _PARAMETER_NAMES)
    return _to_source(reader, _convert(reader))


def load_npz(name: str, path: Path, options: ReadOptions) -> Source:
    """Load the data set in an npz file. Large images are memory-mapped, where they are in the file or converted in a cache.

    Args:
        name: the data set's name.
        path: the file.
        options: the cache folder, and whether every class must have training images.
    """
    reader, file = open_npz(name, path)
    return _to_source(reader, load_npz_pixels(reader, file, options.cache_dir), options.every_class_trained)


def open_npz(name: str, path: Path, *, labelled: bool = True) -> tuple[ArrayReader, NpzFile]:
    """Open an npz file and recognise its arrays; without `labelled`, labels may be missing.

    Raises:
        UsageError: it is not an npz file, or has no images or no labels.
    """
    file = NpzFile(name, require_file(name, path))
    try:
        keys, notes = recognise_names(file)
    except UsageError as error:
        raise UsageError(f"{name}: {path}: {error}") from None
    found = {key.partition("_")[0] for key in keys}
    missing = [key for key in (("X", "y") if labelled else ("X",)) if key not in found]
    if missing:
        raise UsageError(f"{name}: {path} has no {' and no '.join(missing)}; it has: {', '.join(file) or 'nothing'}")
    file.rename(keys)
    reader = ArrayReader(name, file, keys, labelled=labelled)
    reader.notes += notes
    return reader, file


def load_npz_pixels(reader: ArrayReader, file: NpzFile, cache_dir: Path | None = None) -> ConvertedPixels:
    """Return the images of an npz file as uint8: (N, C, H, W)."""
    keys = reader.image_keys
    if sum(map(file.size, keys)) < MAP_BYTES:
        return _convert(reader)
    if len(keys) == 1 and file.is_mappable(keys[0]):
        form = _detect_format(reader)
        if file[keys[0]].dtype == np.uint8:
            return _convert(reader)
    folder, content = cache_dir or default_cache_dir(), file.content_digest(*keys)
    if (cached := load_pixels(folder, content)) is not None:
        return cached
    with scratch_dir(folder) as scratch:
        file.scratch = Path(scratch)
        form, arrays = _detect_format(reader), reader.image_arrays()
        shape = (sum(map(len, arrays.values())), *form.shape)
        return store_pixels(folder, content, shape, lambda out: convert_pixels(arrays, form, out), form.notes)


def _convert(reader: ArrayReader) -> ConvertedPixels:
    form = _detect_format(reader)
    return ConvertedPixels(convert_pixels(reader.image_arrays(), form), "", form.notes)


def _detect_format(reader: ArrayReader) -> PixelFormat:
    arrays = reader.image_arrays()
    try:
        return detect_format(arrays)
    except UsageError as error:
        raise reader.error(str(error)) from None


def _to_source(reader: ArrayReader, pixels: ConvertedPixels, every_class_trained: bool = True) -> Source:
    """Combine images with the labels, groups and parts in the arrays."""
    annotations = reader.annotations(every_class_trained)
    return annotations.to_source(
        reader.dataset,
        pixels.images,
        images_digest=pixels.digest,
        flips=bool(reader.arrays.get("flips", np.array(False)).any()),
        notes=(*reader.notes, *pixels.notes),
    )


def save_npz(source: Source, path: str | Path) -> None:
    """Write a data set as an npz file; loading `npz:PATH` gives an equal data set.

    Raises:
        UsageError: a class has no image, so its name would be lost.
    """
    counts = np.bincount(source.labels, minlength=len(source.classes))
    if not counts.all():
        raise UsageError(
            f"{source.name}: class '{source.classes[int(counts.argmin())]}' has no image and cannot be saved"
        )
    optional = {"clean": source.truth, "group": source.groups, "split": source.parts}
    arrays: dict[str, NDArray[Any]] = {key: array for key, array in optional.items() if array is not None}
    with Path(path).expanduser().open("wb") as file:
        np.savez(
            file,
            allow_pickle=False,
            X=source.images.transpose(0, 2, 3, 1),
            y=source.labels,
            classes=np.array(source.classes),
            flips=np.array(source.flips),
            **arrays,
        )
