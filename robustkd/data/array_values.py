"""Labels, groups and parts given as arrays, checked and joined over the training, validation and test rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustkd.data.array_names import PART_SUFFIXES
from robustkd.data.labels import Annotations, ColumnNames, RawValues, encode_labels
from robustkd.data.npz_file import NpzFile
from robustkd.errors import UsageError

_VALUE_KINDS = {"i": "integers", "u": "integers", "b": "booleans", "U": "texts"}  # by dtype.kind


class ArrayReader:
    """Reads the arrays of a data set by their names in robustkd.data.arrays.

    Args:
        dataset: the data set's name, for error messages.
        arrays: the arrays.
        display_names: names for error messages, where they differ.
    """

    def __init__(
        self,
        dataset: str,
        arrays: Mapping[str, NDArray[Any]],
        display_names: Mapping[str, str],
        *,
        labelled: bool = True,
    ) -> None:
        self.dataset, self.arrays, self.display_names = dataset, arrays, display_names
        self.notes: list[str] = []
        self.parts = [part for part, suffix in PART_SUFFIXES.items() if f"X{suffix}" in arrays]
        for part, suffix in PART_SUFFIXES.items():
            if f"y{suffix}" in arrays and part not in self.parts:
                raise self.error(f"there is {self.display_name(f'y{suffix}')}, but no X{suffix}")
            if labelled and part in self.parts and f"y{suffix}" not in arrays:
                raise self.error(f"there is {self.display_name(f'X{suffix}')}, but no y{suffix}")
        for key in ("clean", "group"):
            for part, suffix in PART_SUFFIXES.items():
                if f"{key}{suffix}" in arrays and part not in self.parts:
                    raise self.error(f"{self.display_name(f'{key}{suffix}')} is given, but there are no {part} images")
        if len(self.parts) > 1 and "split" in arrays:
            raise self.error(
                f"{self.display_name('split')} and {self.display_name(self.image_keys[-1])} both define the"
                f" {self.parts[-1]} rows: give one of them"
            )

    @property
    def image_keys(self) -> list[str]:
        """The names of the arrays of images, in the order in which they are joined."""
        return [f"X{PART_SUFFIXES[part]}" for part in self.parts]

    def display_name(self, key: str) -> str:
        """Return the name of an array in error messages."""
        return self.display_names.get(key, key)

    def image_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of images by their names in error messages."""
        return {self.display_name(key): self.arrays[key] for key in self.image_keys}

    def lengths(self) -> list[int]:
        """Return the number of images of each part."""
        if isinstance(self.arrays, NpzFile):
            return [self.arrays.length(key) for key in self.image_keys]
        return [len(self.arrays[key]) for key in self.image_keys]

    def annotations(self, every_class_trained: bool) -> Annotations:
        """Check and encode labels, groups and parts; without `every_class_trained`, a class may lack training rows."""
        lengths = self.lengths()
        labels = self.joined_values("y", lengths)
        assert labels is not None
        classes = self.arrays.get("classes")
        return encode_labels(
            self.dataset,
            labels,
            class_names=None if classes is None else self.values("classes", classes.size),
            clean=self.joined_values("clean", lengths),
            groups=self.joined_values("group", lengths),
            parts=self.row_parts(lengths),
            columns=ColumnNames(*map(self.display_name, ("y", "clean", "group", "split"))),
            every_class_trained=every_class_trained,
        )

    def row_parts(self, lengths: Sequence[int]) -> RawValues | None:
        """Return the part of each row: (N,); None if there is no split."""
        if len(self.parts) == 1:
            return self.values("split", lengths[0])
        return np.repeat(self.parts, lengths)

    def joined_values(self, key: str, lengths: Sequence[int]) -> RawValues | None:
        """Return the values of the rows of all parts, None for missing ones: (N,); None if all are."""
        keys = [f"{key}{PART_SUFFIXES[part]}" for part in self.parts]
        pieces = [self.values(name, length) for name, length in zip(keys, lengths, strict=True)]
        kinds = [
            (self.display_name(name), _VALUE_KINDS[values.dtype.kind])
            for name, values in zip(keys, pieces, strict=True)
            if values is not None
        ]
        if not kinds:
            return None
        for name, kind in kinds[1:]:
            if kind != kinds[0][1]:
                raise self.error(f"{name} contains {kind}, but {kinds[0][0]} contains {kinds[0][1]}")
        filled = [np.full(n, None) if values is None else values for values, n in zip(pieces, lengths, strict=True)]
        return np.concatenate(filled)

    def values(self, key: str, length: int) -> RawValues | None:
        """Return an array of integers, booleans or texts: (N,); None if it is missing."""
        if key not in self.arrays:
            return None
        array, name = self.arrays[key], self.display_name(key)
        if array.dtype.kind == "T" or (array.dtype == object and all(isinstance(value, str) for value in array.flat)):
            array = array.astype(str)
        array = self._flatten(array, name, length)
        if array.dtype.kind == "f" and np.array_equal(array, np.rint(array)):
            self.notes.append(f"{name}: {array.dtype} taken as integers")
            array = array.astype(np.int64)
        if array.dtype.kind not in "iubUS":
            raise self.error(f"{name} is {array.dtype}, but must be integers or texts")
        if array.dtype.kind == "S":
            try:
                return np.strings.decode(array, "utf-8")
            except UnicodeDecodeError:
                raise self.error(f"{name} contains texts that are not UTF-8") from None
        if array.dtype.kind == "u" and array.max(initial=0) > np.iinfo(np.int64).max:
            raise self.error(f"{name} contains {array.max()}, but integers must be at most 2**63 - 1")
        return array.astype(np.int64) if array.dtype.kind in "iu" else array

    def _flatten(self, array: NDArray[Any], name: str, length: int) -> NDArray[Any]:
        """Return a value for each row: of (N,), (N, 1), or (N, K) with a single 1 in each row."""
        if array.shape == (length, 1):
            self.notes.append(f"{name}: shape {array.shape} taken as ({length},)")
            return array[:, 0]
        if array.ndim == 2 and len(array) == length and array.dtype.kind in "biuf":
            if ((array != 0) & (array != 1)).any() or (array.sum(axis=1) != 1).any():
                raise self.error(
                    f"{name} has shape {array.shape}, but an image has one label: it must be ({length},), or have a single"
                    " 1 in each row"
                )
            self.notes.append(f"{name}: the class is the column of the 1 in each row")
            classes: NDArray[Any] = array.argmax(axis=1)
            return classes
        if array.shape != (length,):
            raise self.error(f"{name} has shape {array.shape}, but must be ({length},)")
        return array

    def error(self, message: str) -> UsageError:
        """Return an error about the data set."""
        return UsageError(f"{self.dataset}: {message}")
