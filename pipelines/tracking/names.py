"""Names of metrics and parameters that MLflow accepts."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


def legal_name(name: str) -> str:
    """Replace characters that MLflow does not accept in names of metrics and parameters by '_'.

    >>> legal_name("recall/süß, 50 %")
    'recall/süß_ 50 _'
    """
    steps = re.sub(r"[^\w/. -]", "_", unicodedata.normalize("NFC", name)).strip().split("/")
    return "/".join(step if step.strip(".") else "_" for step in steps)[:250]


def distinct_names(names: Iterable[str]) -> list[str]:
    """Return legal names without '/' that are all different, even in a store that ignores case.

    >>> distinct_names(["a, b", "a; b", "A, b", "x/y"])
    ['a_ b', 'a_ b_2', 'A_ b_3', 'x_y']
    """
    used: dict[str, str] = {}
    for name in names:
        base = legal_name(name.replace("/", "_"))[:200]
        candidates = (base if n == 1 else f"{base}_{n}" for n in range(1, len(used) + 2))
        free = next(candidate for candidate in candidates if candidate.casefold() not in used)
        used[free.casefold()] = free
    return list(used.values())


def with_distinct_names(values: Mapping[str, T]) -> list[tuple[str, T]]:
    """Return the items of a mapping, with keys that MLflow accepts and distinguishes."""
    return list(zip(distinct_names(values), values.values(), strict=True))
