"""Encode what a user provides about each image: its label, clean label, group and part.

Labels are kept as given and are not assumed to be true. Clean labels, given for some rows or for all, are the true labels of
those rows; the true label of every other row is unknown, -1.

Two data sets have the same fingerprint if they agree in images, labels, class names, parts and mirroring, which determine the
training, regardless of location and format. Clean labels determine what is measured and not what is shown; without them in the
fingerprint, a manifest remains valid while more labels are reviewed. Groups determine what is drawn, which a manifest lists row
by row.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustkd.data.resize import Pixels
from robustkd.data.view import PART_ALIASES, PARTS, Labels, Source
from robustkd.errors import UsageError, did_you_mean
from robustkd.hashing import digest

WHOLE_NUMBER = re.compile(r"[+-]?\d{1,18}(\.0+)?", re.ASCII)  # as text; spreadsheets write 1 as 1.0

RawValues = NDArray[Any]  # (N,) integers or texts; an array of objects may contain None for a missing value


class ColumnNames(NamedTuple):
    """The user's names for the inputs, for error messages."""

    label: str = "label"
    clean: str = "clean_label"
    group: str = "group"
    part: str = "split"


class Annotations(NamedTuple):
    """Encoded labels, parts and groups of N images; see Source."""

    labels: Labels
    classes: tuple[str, ...]
    truth: Labels | None = None
    parts: NDArray[np.str_] | None = None
    groups: Labels | None = None

    def fingerprint(self, images_digest: str, flips: bool) -> str:
        """Compute the data set's fingerprint from a digest of its images."""
        parts = np.full(len(self.labels), "train") if self.parts is None else self.parts
        return digest(self.labels, _part_codes(parts), text=json.dumps([images_digest, self.classes, bool(flips)]))

    def to_source(
        self,
        name: str,
        images: Pixels,
        *,
        flips: bool,
        images_digest: str = "",
        files: tuple[str, ...] | None = None,
        **others: Any,
    ) -> Source:
        """Combine with the images to a data set; `images_digest` saves computing it if it is known.

        Args:
            others: further attributes of the Source: skipped, part_names, notes, unread, value_range.
        """
        for class_name in self.classes:
            categories = {unicodedata.category(letter) for letter in class_name}
            if categories & {"Cc", "Cs"}:  # surrogates stand for the bytes of a folder's name that is not UTF-8
                problem = "a control character in its name" if "Cc" in categories else "a name that is not UTF-8"
                raise UsageError(f"{name}: the class {class_name!r} has {problem}: rename it")
        fingerprint = self.fingerprint(images_digest or digest(images), flips)
        return Source(name, images, *self, flips=flips, files=files, fingerprint=fingerprint, **others)

    def take(self, chosen: NDArray[np.bool_]) -> "Annotations":
        """Select some of the images by a mask: (N,)."""
        return Annotations(
            self.labels[chosen],
            self.classes,
            None if self.truth is None else self.truth[chosen],
            None if self.parts is None else self.parts[chosen],
            None if self.groups is None else self.groups[chosen],
        )

    def classes_without_training_rows(self) -> list[str]:
        """Return the names of the classes that have no training row."""
        train = self.labels if self.parts is None else self.labels[self.parts == "train"]
        return [self.classes[label] for label in np.flatnonzero(np.bincount(train, minlength=len(self.classes)) == 0)]


def encode_labels(
    name: str,
    labels: RawValues,
    *,
    class_names: RawValues | None = None,
    clean: RawValues | None = None,
    groups: RawValues | None = None,
    parts: RawValues | None = None,
    columns: ColumnNames | None = None,
    locate: Callable[[int], str] = "row {}".format,
    every_class_trained: bool = True,
) -> Annotations:
    """Encode the user's labels, clean labels, groups and parts of N images as numbers. An input without any value is ignored.

    Args:
        name: the data set's name, for error messages, as are `columns`, the inputs' names, and `locate`, a row's location.
        labels: (N,); the classes are the distinct labels; see `sort_class_names`.
        class_names: (K,) names, for labels that are integers from 0.
        clean: (N,) clean labels among the labels; None, "" or -1 if unknown.
        groups: (N,); a row with None or "" is a group of its own.
        parts: (N,) of train, val (or valid, or validation) and test, in any case.
        every_class_trained: whether a class without training rows is refused.

    Raises:
        UsageError: a row has no label, there are fewer than two classes or a class without training rows, a clean label is
            not among the labels, a part is unknown, or a group is in two parts.
    """
    columns = columns or ColumnNames()
    codes, values = _factorize(labels)
    if (codes < 0).any():
        raise UsageError(f"{name}: {locate(int(np.argmin(codes)))} has no {columns.label}")
    annotations = Annotations(
        codes,
        _name_classes(name, columns.label, values, class_names),
        None if clean is None else _encode_clean_labels(name, columns, clean, values, locate),
        None if parts is None else parse_parts(name, columns.part, parts, locate),
        None if groups is None else _encode_groups(groups),
    )
    _check_parts(name, columns, annotations, groups, every_class_trained)
    return annotations


def sort_class_names(names: Iterable[str]) -> list[str]:
    """Return class names in the order of their numbers if all are whole numbers, or else in alphabetical order.

    >>> sort_class_names(["10", "9", "2"]), sort_class_names(["10", "9", "x"])
    (['2', '9', '10'], ['10', '9', 'x'])
    """
    names = list(names)
    if not all(map(WHOLE_NUMBER.fullmatch, names)):
        return sorted(names)
    return sorted(names, key=lambda name: (int(name.partition(".")[0]), name))


def _factorize(values: RawValues) -> tuple[Labels, RawValues]:
    """Return a code for each value, -1 if it is missing or blank, and the sorted distinct values: (N,), (K,)."""
    import pandas as pd

    codes, distinct = pd.factorize(values, sort=True)
    distinct = np.asarray(distinct)
    blank = np.array([isinstance(value, str) and not value.strip() for value in distinct], bool)
    rank = np.where(blank, -1, np.cumsum(~blank) - 1)
    codes, distinct = np.append(rank, -1)[codes].astype(np.int64), distinct[~blank]
    if not len(distinct) or not isinstance(distinct[0], str):
        return codes, distinct
    place = {value: number for number, value in enumerate(sort_class_names(distinct.tolist()))}
    order = np.array([place[value] for value in distinct.tolist()])
    return np.append(order, -1)[codes], distinct[np.argsort(order)]


def _name_classes(name: str, column: str, values: RawValues, class_names: RawValues | None) -> tuple[str, ...]:
    """Return the class names: those given for integer labels, or else the labels themselves."""
    if len(values) < 2:
        raise UsageError(f"{name}: {column} is '{values[0]}' in all rows, but at least two classes are needed")
    if class_names is None or isinstance(values[0], str):
        return tuple(str(value) for value in values)
    if values[0] < 0 or values[-1] >= len(class_names):
        raise UsageError(
            f"{name}: classes has names for 0 to {len(class_names) - 1}, but {column} ranges from {values[0]} to"
            f" {values[-1]}"
        )
    classes = tuple(str(class_names[int(value)]) for value in values)
    if len(set(classes)) < len(classes):
        repeated = next(class_name for class_name in classes if classes.count(class_name) > 1)
        raise UsageError(f"{name}: classes contains the name '{repeated}' twice")
    return classes


def _encode_clean_labels(
    name: str, columns: ColumnNames, clean: RawValues, values: RawValues, locate: Callable[[int], str]
) -> Labels | None:
    """Return the clean labels by class number, -1 if unknown: (N,); None if all are."""
    numbers = {value: label for label, value in enumerate(values.tolist())}
    codes, distinct = _factorize(clean)
    labels = np.full(len(distinct) + 1, -1)  # the last is for missing values, whose code is -1
    for code, value in enumerate(distinct.tolist()):
        if value in numbers:
            labels[code] = numbers[value]
        elif value != -1:
            row = int(np.argmax(codes == code))
            hint = did_you_mean(str(value), map(str, numbers))
            raise UsageError(f"{name}: {locate(row)}: {columns.clean} '{value}' is not among the labels{hint}")
    truth: Labels = labels[codes]
    return truth if (truth >= 0).any() else None


def _encode_groups(groups: RawValues) -> Labels | None:
    codes, distinct = _factorize(groups)
    if not len(distinct):
        return None
    ungrouped = codes < 0
    return np.where(ungrouped, len(distinct) - 1 + np.cumsum(ungrouped), codes)


def parse_parts(
    name: str, column: str, parts: RawValues, locate: Callable[[int], str] = "row {}".format
) -> NDArray[np.str_] | None:
    """Return the part of each row (N,), None if no row has one; see `encode_labels`.

    Raises:
        UsageError: a part is unknown, or some rows have one and others do not.
    """
    codes, distinct = _factorize(parts)
    if not len(distinct):
        return None
    if (codes < 0).any():
        raise UsageError(f"{name}: {locate(int(np.argmin(codes)))} has no {column}, but other rows have one")
    parsed = [PART_ALIASES.get(str(value).strip().lower(), "") for value in distinct]
    if "" in parsed:
        row = int(np.argmax(codes == parsed.index("")))
        value = str(distinct[parsed.index("")])
        hint = did_you_mean(value.lower(), PART_ALIASES)
        raise UsageError(f"{name}: {locate(row)}: {column} '{value}' is none of {', '.join(PARTS)}{hint}")
    return np.array(parsed)[codes]


def _check_parts(
    name: str,
    columns: ColumnNames,
    annotations: Annotations,
    group_names: RawValues | None,
    every_class_trained: bool,
) -> None:
    """Raise a UsageError if a class has no training row or a group is in two parts."""
    if annotations.parts is None:
        return
    if "train" not in annotations.parts:
        raise UsageError(f"{name}: {columns.part} leaves no row for training")
    untrained = annotations.classes_without_training_rows()
    if untrained and every_class_trained:
        raise UsageError(
            f"{name}: val or test has classes that train does not have: {', '.join(untrained)}; --min-class 1 leaves them out"
        )
    if group_names is not None and annotations.groups is not None:
        _check_groups_undivided(name, columns.group, annotations.groups, annotations.parts, group_names)


def _part_codes(parts: NDArray[np.str_]) -> Labels:
    """Return the index of each part in alphabetical order: (N,)."""
    return np.searchsorted(sorted(PARTS), parts).astype(np.int64)


def _check_groups_undivided(
    name: str, column: str, groups: Labels, parts: NDArray[np.str_], group_names: RawValues
) -> None:
    group_of_pair = np.unique(groups * len(PARTS) + _part_codes(parts)) // len(PARTS)
    divided = group_of_pair[1:][group_of_pair[1:] == group_of_pair[:-1]]
    if len(divided):
        members = groups == divided[0]
        its_parts = [part for part in PARTS if (parts[members] == part).any()]
        group_name = group_names[int(np.argmax(members))]
        raise UsageError(
            f"{name}: {column} '{group_name}' is in {' and '.join(its_parts)}, but a group must not be divided"
        )
