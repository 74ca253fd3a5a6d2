"""Data sets as arrays, in memory or in an npz file, and any data set written as such a file.

X        (N, H, W), (N, H, W, 1) or (N, H, W, 3) uint8
y        (N,) labels, integers or texts
X_test   and y_test: the test rows; alternatively split, for all rows: (N,) of train, val and test
classes  names of labels that are integers from 0
clean    (N,) clean labels where known, -1 or "" elsewhere; clean_test for the test rows
group    (N,) rows of a group are never divided between splits; group_test for the test rows
flips    whether a mirrored image keeps its class; false if missing
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robustkd.data.decode import describe_error
from robustkd.data.labels import ColumnNames, RawValues, encode_labels
from robustkd.data.paths import require_file
from robustkd.data.resize import Pixels
from robustkd.data.view import Source
from robustkd.errors import UsageError, did_you_mean

ARRAY_NAMES = (  # arrays of an npz file that are read
    *("X", "y", "X_test", "y_test", "classes", "group", "group_test", "clean", "clean_test", "split", "flips"),
)
# The corresponding parameters of from_arrays, for error messages.
_PARAMETER_NAMES = {
    **{"X": "images", "y": "labels", "X_test": "test[0]", "y_test": "test[1]", "group": "groups"},
    **{"group_test": "groups_test", "split": "parts"},
}
_VALUE_KINDS = {"i": "integers", "u": "integers", "b": "booleans", "U": "texts"}  # by dtype.kind


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
        images: (N, H, W), (N, H, W, 1) or (N, H, W, 3) uint8.
        labels: (N,) integers or texts, as given: they are not assumed to be true.
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
    return _NamedArrays(name, arrays, _PARAMETER_NAMES).to_source()


def load_npz(name: str, path: Path, every_class_trained: bool = True) -> Source:
    """Load the data set in an npz file."""
    require_file(name, path)
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:  # NumPy leaves a damaged file open
            keys, arrays = list(file), {key: file[key] for key in ARRAY_NAMES if key in file}
    except Exception as error:  # no archive, a damaged one, or one of Python objects, which could execute code
        raise UsageError(
            f"{name}: {path} is not a file of plain arrays as written by np.savez ({describe_error(error)})"
        ) from error
    required = ["X", "y", "X_test", "y_test"] if {"X_test", "y_test"} & set(arrays) else ["X", "y"]
    missing = [key for key in required if key not in arrays]
    if missing:
        raise UsageError(f"{name}: {path} has no {' and no '.join(missing)}; it has: {', '.join(keys) or 'nothing'}")
    for key in sorted(set(keys) - set(arrays)):
        if key.lower() in {known.lower() for known in ARRAY_NAMES}:
            raise UsageError(f"{name}: {path} has an array '{key}'{did_you_mean(key.lower(), ARRAY_NAMES)}")
    return _NamedArrays(name, arrays, {}).to_source(every_class_trained)


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


def to_channels_first(images: Pixels) -> Pixels:
    """Convert (N, H, W) or (N, H, W, C) to (N, C, H, W); images that are channels-first already are unchanged."""
    if images.ndim == 3:
        return images[:, None]
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)) if images.shape[-1] in (1, 3) else images


@dataclass(frozen=True)
class _NamedArrays:
    """Arrays by their names in an npz file.

    Attributes:
        dataset: the data set's name, for error messages.
        arrays: the arrays.
        display_names: names for error messages, where they differ from those in an npz file.
    """

    dataset: str
    arrays: Mapping[str, NDArray[Any]]
    display_names: Mapping[str, str]

    def display_name(self, key: str) -> str:
        return self.display_names.get(key, key)

    def to_source(self, every_class_trained: bool = True) -> Source:
        """Check and encode the arrays as a data set."""
        images, parts = self.images("X"), None
        lengths = [len(images)]
        if "X_test" in self.arrays:
            test_images = self.images("X_test")
            if test_images.shape[1:] != images.shape[1:]:
                test_name, name = self.display_name("X_test"), self.display_name("X")
                raise self.error(
                    f"{test_name} has images of {test_images.shape[1:]} but {name} of {images.shape[1:]} (C, H, W)"
                )
            if "split" in self.arrays:
                raise self.error(
                    f"{self.display_name('split')} and {self.display_name('X_test')} both define the test rows:"
                    " give one of them"
                )
            lengths.append(len(test_images))
            parts = np.repeat(["train", "test"], lengths)
            images = np.concatenate([images, test_images])
        labels = self.train_and_test_values("y", lengths)
        assert labels is not None
        classes = self.arrays.get("classes")
        annotations = encode_labels(
            self.dataset,
            labels,
            class_names=None if classes is None else self.values("classes", classes.size),
            clean=self.train_and_test_values("clean", lengths),
            groups=self.train_and_test_values("group", lengths),
            parts=self.values("split", len(images)) if parts is None else parts,
            columns=ColumnNames(*map(self.display_name, ("y", "clean", "group", "split"))),
            every_class_trained=every_class_trained,
        )
        flips = bool(self.arrays.get("flips", np.array(False)).any())
        return annotations.to_source(self.dataset, images, flips=flips)

    def images(self, key: str) -> Pixels:
        """Return the training or test images: (N, C, H, W)."""
        images, name = self.arrays[key], self.display_name(key)
        if images.dtype != np.uint8:
            raise self.error(f"{name} is {images.dtype}, but must be uint8 from 0 to 255")
        if not images.size or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[-1] not in (1, 3)):
            raise self.error(f"{name} has shape {images.shape}, but must be (N, H, W) or (N, H, W, 1 or 3)")
        return to_channels_first(images)

    def train_and_test_values(self, key: str, lengths: Sequence[int]) -> RawValues | None:
        """Return the values of the training rows and of the test rows, None for missing ones: (N,); None if all are."""
        keys = (key, f"{key}_test")
        if len(lengths) == 1 and keys[1] in self.arrays:
            raise self.error(f"{self.display_name(keys[1])} is given, but there are no test images")
        halves = [self.values(name, length) for name, length in zip(keys, lengths, strict=False)]
        kinds = [
            (self.display_name(name), _VALUE_KINDS[values.dtype.kind])
            for name, values in zip(keys, halves, strict=False)
            if values is not None
        ]
        if not kinds:
            return None
        if kinds[0][1] != kinds[-1][1]:
            raise self.error("{2} contains {3}, but {0} contains {1}".format(*kinds[0], *kinds[1]))
        filled = [np.full(n, None) if values is None else values for values, n in zip(halves, lengths, strict=True)]
        return np.concatenate(filled)

    def values(self, key: str, length: int) -> RawValues | None:
        """Return an array of integers, booleans or texts: (N,); None if it is missing."""
        if key not in self.arrays:
            return None
        array, name = self.arrays[key], self.display_name(key)
        if array.dtype.kind == "T" or (array.dtype == object and all(isinstance(value, str) for value in array.flat)):
            array = array.astype(str)
        if array.dtype.kind not in "iubUS":
            raise self.error(f"{name} is {array.dtype}, but must be integers or texts")
        if array.shape != (length,):
            raise self.error(f"{name} has shape {array.shape}, but must be ({length},)")
        if array.dtype.kind == "S":
            try:
                return np.strings.decode(array, "utf-8")
            except UnicodeDecodeError:
                raise self.error(f"{name} contains texts that are not UTF-8") from None
        if array.dtype.kind == "u" and array.max(initial=0) > np.iinfo(np.int64).max:
            raise self.error(f"{name} contains {array.max()}, but integers must be at most 2**63 - 1")
        return array.astype(np.int64) if array.dtype.kind in "iu" else array

    def error(self, message: str) -> UsageError:
        return UsageError(f"{self.dataset}: {message}")
