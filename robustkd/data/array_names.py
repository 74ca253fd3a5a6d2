"""The names of the arrays in npz files, and the common names that stand for them."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from robustkd.data.view import PART_ALIASES
from robustkd.errors import UsageError

PART_SUFFIXES = {"train": "", "val": "_val", "test": "_test"}  # of the names of arrays, by part
ROLES = {  # what an array may be called, without case and punctuation
    "X": ("x", "image", "images", "img", "imgs", "data"),
    "y": ("y", "label", "labels", "target", "targets"),
    "clean": ("clean",),
    "group": ("group", "groups"),
    "classes": ("classes", "classnames", "labelnames", "targetnames"),
    "split": ("split",),
    "flips": ("flips",),
}
DIVIDED = ("X", "y", "clean", "group")  # there may be such an array for each part


class RecognisedNames(NamedTuple):
    """The arrays of a file by what they are."""

    keys: dict[str, str]  # the name in the file by the name in robustkd.data.arrays
    notes: tuple[str, ...]


def recognise_names(keys: Iterable[str]) -> RecognisedNames:
    """Return what the arrays of a file are, by their names.

    Raises:
        UsageError: two arrays have the same meaning. The message lacks the data set's name.

    >>> recognise_names(["x_train", "y_train", "test_images", "test_labels", "note"]).keys
    {'X': 'x_train', 'y': 'y_train', 'X_test': 'test_images', 'y_test': 'test_labels'}
    """
    keys = list(keys)
    meanings = _meanings()
    if set(keys) == {"arr_0", "arr_1"}:  # as np.savez calls arrays without a name
        meanings |= {"arr0": "X", "arr1": "y"}
    found: dict[str, str] = {}
    for key in sorted(keys, key=lambda key: key not in meanings.values()):  # exact names first
        meaning = meanings.get(_normalise_key(key))
        if meaning in found and found[meaning] == meaning and not _names_part(key):
            continue  # `labels` next to `y`
        if meaning in found:
            raise UsageError(f"the arrays '{found[meaning]}' and '{key}' could each be {meaning}: keep one of them")
        if meaning is not None:
            found[meaning] = key
    other = [f"{key} as {meaning}" for meaning, key in found.items() if key != meaning]
    return RecognisedNames(found, (f"read {', '.join(other)}",) if other else ())


def _meanings() -> dict[str, str]:
    """Return the meaning of each name, without case and punctuation."""
    meanings = {word: role for role, words in ROLES.items() for word in words}
    for role in DIVIDED:
        for word in ROLES[role]:
            for alias, part in PART_ALIASES.items():
                meanings[f"{word}{alias}"] = meanings[f"{alias}{word}"] = f"{role}{PART_SUFFIXES[part]}"
    return meanings


def _normalise_key(key: str) -> str:
    return re.sub(r"[\W_]", "", key).lower()


def _names_part(key: str) -> bool:
    """Return whether a name contains that of a part."""
    return any(alias in _normalise_key(key) for alias in PART_ALIASES)
