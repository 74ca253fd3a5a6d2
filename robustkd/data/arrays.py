"""Arrays as a data set: what np.savez wrote, or what a Python program holds; and any data set as such a file.

X        (N, H, W), (N, H, W, 1) or (N, H, W, 3) uint8
y        (N,) labels, whole numbers or texts
X_test   and y_test: the test rows; or instead, for all rows, split: (N,) of train, val and test
classes  the names of labels that are numbers from 0 on
clean    (N,) the clean labels known, -1 or "" for the others; clean_test
group    (N,) what no split divides; group_test
flips    whether a mirrored image keeps its class; no, where it does not say
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

ARRAY_NAMES = (  # what an npz file is asked for
    *("X", "y", "X_test", "y_test", "classes", "group", "group_test", "clean", "clean_test", "split", "flips"),
)
# What they are called by who gives them to from_arrays.
_PYTHON_NAMES = {
    **{"X": "images", "y": "labels", "X_test": "test[0]", "y_test": "test[1]", "group": "groups"},
    **{"group_test": "groups_test", "split": "parts"},
}
_VALUE_KINDS = {"i": "whole numbers", "u": "whole numbers", "b": "True and False", "U": "texts"}


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
    """A data set from arrays.

    Args:
        images: (N, H, W), (N, H, W, 1) or (N, H, W, 3) uint8.
        labels: (N,) whole numbers or texts, as given: they are not taken for the truth.
        classes: names for labels that are numbers from 0 on.
        test: images and labels to test on; without them `parts`, (N,) of "train", "val" and "test", may say which are.
        clean: (N,) clean labels as far as they are known, and -1 or "" where not; `clean_test` those of the test.
        groups: (N,) numbers or texts that no split divides; `groups_test` those of the test.
        flips: whether a mirrored image keeps its class.
        name: what errors and reports call it.

    Raises:
        UsageError: an array is not as it should be.

    >>> images = np.zeros((4, 8, 8, 3), np.uint8)
    >>> made = from_arrays(images, ["cat", "dog", "cat", "dog"], clean=["cat", "cat", "", ""])
    >>> made.classes, made.labels.tolist(), made.truth.tolist()
    (('cat', 'dog'), [0, 1, 0, 1], [0, 0, -1, -1])
    """
    halves: dict[str, Any] = {} if test is None else {"X_test": test[0], "y_test": test[1]}
    told = {"X": images, "y": labels, **halves, "classes": classes, "split": parts, "flips": flips}
    told |= {"clean": clean, "clean_test": clean_test, "group": groups, "group_test": groups_test}
    arrays = {key: np.asarray(value) for key, value in told.items() if value is not None}
    return _NamedArrays(name, arrays, _PYTHON_NAMES).source()


def load_npz(word: str, path: Path) -> Source:
    """The data set in a file that np.savez wrote."""
    require_file(word, path)
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:  # NumPy leaves a damaged one open
            found, arrays = list(file), {name: file[name] for name in ARRAY_NAMES if name in file}
    except Exception as error:  # no archive, a damaged one, or one of Python objects, which could run code
        raise UsageError(
            f"{word}: {path} is no file of plain arrays such as np.savez writes ({describe_error(error)})"
        ) from error
    wanted = ["X", "y", "X_test", "y_test"] if {"X_test", "y_test"} & set(arrays) else ["X", "y"]
    absent = [name for name in wanted if name not in arrays]
    if absent:
        raise UsageError(f"{word}: {path} has no {' and no '.join(absent)}; it has: {', '.join(found) or 'nothing'}")
    for name in sorted(set(found) - set(arrays)):
        if name.lower() in {known.lower() for known in ARRAY_NAMES}:
            raise UsageError(f"{word}: {path} has an array '{name}'{did_you_mean(name.lower(), ARRAY_NAMES)}")
    return _NamedArrays(word, arrays, {}).source()


def save_npz(source: Source, path: str | Path) -> None:
    """Write a data set as an npz file that `npz:PATH` reads as the same data set.

    Raises:
        UsageError: a class has no image, and so would be lost.
    """
    counts = np.bincount(source.labels, minlength=len(source.classes))
    if not counts.all():
        raise UsageError(f"{source.name}: class '{source.classes[int(counts.argmin())]}' has no image to be saved")
    told = {"clean": source.truth, "group": source.groups, "split": source.parts}
    arrays: dict[str, NDArray[Any]] = {name: array for name, array in told.items() if array is not None}
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


def to_channels_first(pixels: Pixels) -> Pixels:
    """Images as (N, C, H, W), whether they come so, with channels last or without any."""
    if pixels.ndim == 3:
        return pixels[:, None]
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)) if pixels.shape[-1] in (1, 3) else pixels


@dataclass(frozen=True)
class _NamedArrays:
    """Arrays by their names in an npz file, and what errors call them."""

    word: str
    arrays: Mapping[str, NDArray[Any]]
    called: Mapping[str, str]

    def name(self, key: str) -> str:
        return self.called.get(key, key)

    def source(self) -> Source:
        """The data set that they are."""
        images, parts = self.images("X"), None
        lengths = [len(images)]
        if "X_test" in self.arrays:
            more = self.images("X_test")
            if more.shape[1:] != images.shape[1:]:
                here, there = self.name("X_test"), self.name("X")
                raise self.wrong(f"{here} has images of {more.shape[1:]} but {there} of {images.shape[1:]} (C, H, W)")
            if "split" in self.arrays:
                raise self.wrong(f"{self.name('split')} and {self.name('X_test')} cannot both say what is tested on")
            lengths.append(len(more))
            parts = np.repeat(["train", "test"], lengths)
            images = np.concatenate([images, more])
        labels = self.both("y", lengths)
        assert labels is not None
        classes = self.arrays.get("classes")
        made = encode_labels(
            self.word,
            labels,
            called=None if classes is None else self.values("classes", classes.size),
            clean=self.both("clean", lengths),
            groups=self.both("group", lengths),
            parts=self.values("split", len(images)) if parts is None else parts,
            names=ColumnNames(*map(self.name, ("y", "clean", "group", "split"))),
        )
        flips = bool(self.arrays.get("flips", np.array(False)).any())
        return made.source(self.word, images, flips=flips)

    def images(self, key: str) -> Pixels:
        """The images to train on, or those to test on: (N, C, H, W)."""
        images, name = self.arrays[key], self.name(key)
        if images.dtype != np.uint8:
            raise self.wrong(f"{name} is {images.dtype}, but uint8 from 0 to 255 is wanted")
        if not images.size or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[-1] not in (1, 3)):
            raise self.wrong(f"{name} has shape {images.shape}, but (N, H, W) or (N, H, W, 1 or 3) is wanted")
        return to_channels_first(images)

    def both(self, key: str, lengths: Sequence[int]) -> RawValues | None:
        """What is said of the rows to train on and of those to test on; None of rows of which nothing is: (N,)."""
        keys = (key, f"{key}_test")
        if len(lengths) == 1 and keys[1] in self.arrays:
            raise self.wrong(f"{self.name(keys[1])} is there, but nothing to test on")
        said = [self.values(each, length) for each, length in zip(keys, lengths, strict=False)]
        kinds = [
            (self.name(each), _VALUE_KINDS[v.dtype.kind]) for each, v in zip(keys, said, strict=False) if v is not None
        ]
        if not kinds:
            return None
        if kinds[0][1] != kinds[-1][1]:
            raise self.wrong("{2} holds {3}, but {0} {1}".format(*kinds[0], *kinds[1]))
        filled = [np.full(n, None) if v is None else v for v, n in zip(said, lengths, strict=True)]
        return np.concatenate(filled)

    def values(self, key: str, length: int) -> RawValues | None:
        """An array of whole numbers or texts, one each, if it is there: (N,)."""
        if key not in self.arrays:
            return None
        array, name = self.arrays[key], self.name(key)
        if array.dtype.kind == "T" or (array.dtype == object and all(isinstance(value, str) for value in array.flat)):
            array = array.astype(str)
        if array.dtype.kind not in "iubUS":
            raise self.wrong(f"{name} is {array.dtype}, but whole numbers or texts are wanted")
        if array.shape != (length,):
            raise self.wrong(f"{name} has shape {array.shape}, but ({length},) is wanted")
        if array.dtype.kind == "S":
            try:
                return np.strings.decode(array, "utf-8")
            except UnicodeDecodeError:
                raise self.wrong(f"{name} holds texts that are not UTF-8") from None
        if array.dtype.kind == "u" and array.max(initial=0) > np.iinfo(np.int64).max:
            raise self.wrong(f"{name} holds {array.max()}, but whole numbers up to 2**63 - 1 are wanted")
        return array.astype(np.int64) if array.dtype.kind in "iu" else array

    def wrong(self, what: str) -> UsageError:
        return UsageError(f"{self.word}: {what}")
