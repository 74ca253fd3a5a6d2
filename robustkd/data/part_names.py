"""Recognise the parts of a data set (train, val, test) by the names of their folders, as public data sets call them.

A name is recognised if it contains the word of a part, as Training, TRAIN, testset, seg_train and ILSVRC2012_img_val do. Since
test_tube does so, too, names other than the bare words count only together, with a part for training among them.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from robustkd.data.view import PART_ALIASES

UNCERTAIN_WORDS = ("eval", "evaluation")  # a test part, or a val part where another part is called test

_WORD = re.compile(
    rf"(?<![^\W\d_])({'|'.join(sorted(PART_ALIASES, key=len, reverse=True))})(?:set|sets|data)?(?![^\W\d_])",
    re.IGNORECASE,
)


class _PartWord(NamedTuple):
    """The word of a part in a name, and the rest of the name, which the names of parts have in common."""

    word: str
    rest: tuple[str, str]


def match_part_names(names: Sequence[str]) -> dict[str, str]:
    """Return the part that each of some names stands for, without the names that stand for none; empty without train.

    >>> match_part_names(["seg_pred", "seg_test", "seg_train"])
    {'seg_test': 'test', 'seg_train': 'train'}
    >>> match_part_names(["Training_Set", "Test_Set", "Evaluation_Set"])
    {'Training_Set': 'train', 'Test_Set': 'test', 'Evaluation_Set': 'val'}
    >>> match_part_names(["crane", "test_tube", "train"])
    {'train': 'train'}
    """
    found = {name: match for name in names if (match := _find_word(name))}
    parts = {name: PART_ALIASES[match.word] for name, match in found.items()}
    if len(found) < len(names) or len(set(parts.values())) < len(parts):  # not one folder per part
        rests = {found[name].rest for name, part in parts.items() if part == "train"}
        chosen = ("", "") if ("", "") in rests or len(rests) > 1 else next(iter(rests), None)
        parts = {name: part for name, part in parts.items() if found[name].rest == chosen}
    if any(part == "test" and found[name].word not in UNCERTAIN_WORDS for name, part in parts.items()):
        parts |= {name: "val" for name in parts if found[name].word in UNCERTAIN_WORDS}
    return parts if "train" in parts.values() else {}


def combine_parts_and_classes(names: Sequence[str]) -> bool:
    """Return whether names combine the words of parts with those of classes.

    >>> combine_parts_and_classes(["cat_test", "cat_train", "dog_test", "dog_train"])
    True
    """
    found = [match for name in names if (match := _find_word(name))]
    parts = {rest: {PART_ALIASES[match.word] for match in found if match.rest == rest} for _, rest in found}
    return len(found) == len(names) and len(parts) > 1 and all(len(group) > 1 for group in parts.values())


def _find_word(name: str) -> _PartWord | None:
    """Return the last word of a part in a name.

    >>> _find_word("real_vs_fake-Train 2")
    _PartWord(word='train', rest=('real_vs_fake-', ' 2'))
    """
    matches = list(_WORD.finditer(name))
    if not matches:
        return None
    match = matches[-1]
    return _PartWord(match[1].lower(), (name[: match.start()].lower(), name[match.end() :].lower()))
