"""What a user says of each image, as numbers: its label, its clean label, its group and its part.

A label is kept as given and is never taken for the truth. Where clean labels are given, for some rows or for all, they are
the truth of those rows; the truth of every other row is unknown, -1.

Two data sets are the same where images, labels, class names, parts and mirroring are, wherever they lie and however they
are written down: all that is trained on. Clean labels decide what is measured, not what is shown, so that a manifest stays
valid while more labels are reviewed. Groups decide what is drawn, which a manifest holds row by row.
"""

import json
import unicodedata
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustkd.data.resize import Pixels
from robustkd.data.view import PART_ALIASES, PARTS, Labels, Source
from robustkd.errors import UsageError, did_you_mean
from robustkd.hashing import digest

RawValues = NDArray[Any]  # (N,) whole numbers or texts; as objects also None, where there is nothing


class ColumnNames(NamedTuple):
    """What the user calls what is given."""

    label: str = "label"
    clean: str = "clean_label"
    group: str = "group"
    part: str = "split"


class Annotations(NamedTuple):
    """What is said of N images; see Source."""

    labels: Labels
    classes: tuple[str, ...]
    truth: Labels | None = None
    parts: NDArray[np.str_] | None = None
    groups: Labels | None = None

    def fingerprint(self, pixels: str, flips: bool) -> str:
        """What makes this data set itself, from a digest of its images."""
        parts = np.full(len(self.labels), "train") if self.parts is None else self.parts
        return digest(self.labels, _part_codes(parts), text=json.dumps([pixels, self.classes, bool(flips)]))

    def source(
        self,
        name: str,
        images: Pixels,
        *,
        flips: bool,
        pixels: str = "",
        files: tuple[str, ...] | None = None,
        skipped: tuple[str, ...] = (),
    ) -> Source:
        """The data set that this makes with its images; `pixels` is their digest, where it is known already."""
        for kind in self.classes:
            if any(unicodedata.category(letter) == "Cc" for letter in kind):
                raise UsageError(f"{name}: the class {kind!r} has a control character in its name: call it otherwise")
        print_ = self.fingerprint(pixels or digest(images), flips)
        return Source(name, images, *self, flips=flips, files=files, fingerprint=print_, skipped=skipped)

    def take(self, chosen: NDArray[np.bool_]) -> "Annotations":
        """What is said of some of the images: (N,)."""
        return Annotations(
            self.labels[chosen],
            self.classes,
            None if self.truth is None else self.truth[chosen],
            None if self.parts is None else self.parts[chosen],
            None if self.groups is None else self.groups[chosen],
        )

    def untrained(self) -> list[str]:
        """The classes without a training row."""
        train = self.labels if self.parts is None else self.labels[self.parts == "train"]
        return [self.classes[label] for label in np.flatnonzero(np.bincount(train, minlength=len(self.classes)) == 0)]


def encode_labels(
    word: str,
    labels: RawValues,
    *,
    called: RawValues | None = None,
    clean: RawValues | None = None,
    groups: RawValues | None = None,
    parts: RawValues | None = None,
    names: ColumnNames | None = None,
    at: Callable[[int], str] = "row {}".format,
) -> Annotations:
    """Numbers for what a user says of N images.

    Args:
        word: what the user named the data set by, for errors; `names` are the names of the rest, `at` says where a row is.
        labels: (N,); classes are the labels in order, numbers by size, texts by letter.
        called: (K,) names for labels that are numbers from 0 on.
        clean: (N,) among the labels; None, "" or -1 where unknown.
        groups: (N,); a row with None or "" is a group of its own.
        parts: (N,) of train, val (or valid, or validation) and test, in any case.

    What is empty throughout is as if it were not there.

    Raises:
        UsageError: a row without a label, fewer than two classes, one that is not trained on, a clean label that no
            row has as its label, a part of another name, or a group in two parts.
    """
    names = names or ColumnNames()
    codes, values = _factorize(labels)
    if (codes < 0).any():
        raise UsageError(f"{word}: {at(int(np.argmin(codes)))} has no {names.label}")
    if len(values) < 2:
        raise UsageError(f"{word}: {names.label} is '{values[0]}' throughout, but telling apart takes two classes")
    classes = _name_classes(word, names.label, values, called)
    made = Annotations(
        codes,
        classes,
        None if clean is None else _encode_clean_labels(word, names, clean, values, at),
        None if parts is None else _parse_parts(word, names.part, parts, at),
        None if groups is None else _encode_groups(groups),
    )
    if made.parts is not None:
        if "train" not in made.parts:
            raise UsageError(f"{word}: {names.part} leaves no row to train on")
        if strange := made.untrained():
            raise UsageError(f"{word}: val or test has classes that train has not: {', '.join(strange)}")
        if groups is not None and made.groups is not None:
            _check_groups_undivided(word, names.group, made.groups, made.parts, groups)
    return made


def _factorize(values: RawValues) -> tuple[Labels, RawValues]:
    """A number for each value, -1 where there is none; and the values in order: (N,), (K,)."""
    import pandas as pd

    codes, distinct = pd.factorize(values, sort=True)
    distinct = np.asarray(distinct)
    empty = np.array([isinstance(value, str) and not value.strip() for value in distinct], bool)
    rank = np.where(empty, -1, np.cumsum(~empty) - 1)
    return np.append(rank, -1)[codes].astype(np.int64), distinct[~empty]


def _name_classes(word: str, name: str, values: RawValues, called: RawValues | None) -> tuple[str, ...]:
    """The class names: what `called` calls the numbers, or else the labels themselves."""
    if called is None or isinstance(values[0], str):
        return tuple(str(value) for value in values)
    if values[0] < 0 or values[-1] >= len(called):
        raise UsageError(
            f"{word}: classes names 0 to {len(called) - 1}, but {name} goes from {values[0]} to {values[-1]}"
        )
    classes = tuple(str(called[int(value)]) for value in values)
    if len(set(classes)) < len(classes):
        twice = next(name for name in classes if classes.count(name) > 1)
        raise UsageError(f"{word}: classes names two of them '{twice}'")
    return classes


def _encode_clean_labels(
    word: str, names: ColumnNames, clean: RawValues, values: RawValues, at: Callable[[int], str]
) -> Labels | None:
    """The clean labels by number: (N,); None where there are none."""
    number = {value: label for label, value in enumerate(values.tolist())}
    codes, distinct = _factorize(clean)
    labels = np.full(len(distinct) + 1, -1)  # the last is for what is empty
    for code, value in enumerate(distinct.tolist()):
        if value in number:
            labels[code] = number[value]
        elif value != -1:
            row = int(np.argmax(codes == code))
            hint = did_you_mean(str(value), map(str, number))
            raise UsageError(f"{word}: {at(row)}: {names.clean} '{value}' is not among the labels{hint}")
    truth: Labels = labels[codes]
    return truth if (truth >= 0).any() else None


def _encode_groups(groups: RawValues) -> Labels | None:
    codes, distinct = _factorize(groups)
    if not len(distinct):
        return None
    alone = codes < 0
    return np.where(alone, len(distinct) - 1 + np.cumsum(alone), codes)


def _parse_parts(word: str, name: str, parts: RawValues, at: Callable[[int], str]) -> NDArray[np.str_] | None:
    codes, distinct = _factorize(parts)
    if not len(distinct):
        return None
    if (codes < 0).any():
        raise UsageError(f"{word}: {at(int(np.argmin(codes)))} has no {name}, but other rows have one")
    told = [PART_ALIASES.get(str(value).lower(), "") for value in distinct]
    if "" in told:
        row = int(np.argmax(codes == told.index("")))
        value = str(distinct[told.index("")])
        hint = did_you_mean(value.lower(), PART_ALIASES)
        raise UsageError(f"{word}: {at(row)}: {name} '{value}' is none of {', '.join(PARTS)}{hint}")
    return np.array(told)[codes]


def _part_codes(parts: NDArray[np.str_]) -> Labels:
    """Parts by their place in the alphabet: (N,)."""
    return np.searchsorted(sorted(PARTS), parts).astype(np.int64)


def _check_groups_undivided(word: str, name: str, groups: Labels, parts: NDArray[np.str_], texts: RawValues) -> None:
    pairs = np.unique(groups * len(PARTS) + _part_codes(parts)) // len(PARTS)
    twice = pairs[1:][pairs[1:] == pairs[:-1]]
    if len(twice):
        group = twice[0]
        where = [part for part in PARTS if (parts[groups == group] == part).any()]
        text = texts[int(np.argmax(groups == group))]
        raise UsageError(f"{word}: {name} '{text}' stands in {' and '.join(where)}, but no split divides a group")
