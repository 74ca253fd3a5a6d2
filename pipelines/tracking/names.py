"""Names as MLflow takes them."""

import re
import unicodedata
from collections.abc import Iterable


def legal(name: str) -> str:
    """A name with '_' for what MLflow does not take in names of metrics and parameters.

    >>> legal("recall/süß, 50 %")
    'recall/süß_ 50 _'
    """
    steps = re.sub(r"[^\w/. -]", "_", unicodedata.normalize("NFC", name)).strip().split("/")
    return "/".join(step if step.strip(".") else "_" for step in steps)[:250]


def distinct(names: Iterable[str]) -> list[str]:
    """Legal names without '/', all different, even where a store does not tell cases apart.

    >>> distinct(["a, b", "a; b", "A, b", "x/y"])
    ['a_ b', 'a_ b_2', 'A_ b_3', 'x_y']
    """
    found: dict[str, str] = {}
    for name in names:
        first = legal(name.replace("/", "_"))[:200]
        tries = (first if n == 1 else f"{first}_{n}" for n in range(1, len(found) + 2))
        free = next(word for word in tries if word.casefold() not in found)
        found[free.casefold()] = free
    return list(found.values())
