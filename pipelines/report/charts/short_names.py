"""Names that are short enough to be written next to an axis."""

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable
from itertools import pairwise


def shorten(name: object, letters: int = 24) -> str:
    """Cut a name at its end.

    >>> shorten("a name that is far too long for a picture")
    'a name that is far too …'
    """
    text = str(name)
    return text if len(text) <= letters else text[: letters - 1] + "…"


def shorten_distinctly(names: Iterable[object], letters: int = 24) -> list[str]:
    """Shorten names so that no two become the same: they are cut where that keeps them apart.

    >>> shorten_distinctly(["at", "hinton(alpha=0.7, temperature=2)", "hinton(alpha=0.7, temperature=2)+balanced"])
    ['at', 'hinton(alpha…perature=2)', 'hinton(alpha…2)+balanced']
    >>> shorten_distinctly(["x(alpha=0.7, temperature=2)+balanced", "x(alpha=0.9, temperature=2)+balanced"])
    ['x(alpha=0.7,…2)+balanced', 'x(alpha=0.9,…2)+balanced']
    """
    texts = [str(name) for name in names]
    labels = {text: text for text in texts if len(text) <= letters}
    long = [text for text in dict.fromkeys(texts) if text not in labels]
    # The cut is in the middle, or as near to it as possible without making two names the same.
    heads = sorted(range(1, letters - 1), key=lambda head: abs(head - letters // 2))
    counts = [Counter(_cut_middle(text, head, letters) for text in long) for head in heads]
    common, taken = _common_prefixes(long), {*labels.values()}
    for number, text in enumerate(long, 1):
        cuts = [_cut_middle(text, head, letters) for head in heads]
        candidates = [cut for cut, count in zip(cuts, counts, strict=True) if count[cut] == 1]
        start = max(0, common[text] - 2)
        candidates.append(f"{text[:4]}…{text[start : start + letters - 6]}…")  # they differ only in the middle
        candidates.append(f"{text[: letters - 1 - len(str(number))]}…{number}")
        labels[text] = next((label for label in candidates if label not in taken), text)
        taken.add(labels[text])
    return [labels[text] for text in texts]


def _common_prefixes(names: Collection[str]) -> dict[str, int]:
    """Return how many letters each of several distinct names has in common with any other at the start.

    In alphabetical order these are the most that it has in common with one of its neighbours.
    """
    common, ordered = dict.fromkeys(names, 0), sorted(names)
    for one, other in pairwise(ordered):
        length = _common_prefix_length(one, other)
        common[one], common[other] = max(common[one], length), length
    return common


def _common_prefix_length(one: str, other: str) -> int:
    """Return how many letters two names have in common at the start."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _cut_middle(text: str, head: int, letters: int) -> str:
    """Cut the middle out of a name; `head` letters remain before the cut."""
    return f"{text[:head]}…{text[len(text) - (letters - 1 - head) :]}"


def text_width(name: str, size: float) -> float:
    """Estimate the width of a name in points; letters of East Asian width count twice."""
    return 0.56 * size * sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in name)


def label_margin(names: Iterable[str], size: float) -> float:
    """Return the inches that the longest name requires."""
    return max((text_width(name, size) for name in names), default=0) / 72 + 0.12
