"""The page of all methods' cards: their modules' documentation, their hyperparameters, and what a step costs."""

import inspect
import sys
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
from equations import translate_blocks

from pipelines.listing import describe_parameters
from robustkd.methods import METHODS

COSTS = Path(__file__).parents[1] / "benchmarks" / "methods.csv"
HEAD = """# Method cards

Every method with its equation, its constants and what differs from the paper, as in its file in `robustkd/methods/` and as
printed by `robustkd methods NAME`. Times and memory of a training step are relative to that of `hinton`
([Speed](speed.md#the-step-of-every-method)).
"""


def write_page() -> str:
    """Return the page in Markdown: a section per module, in the order of the registry."""
    costs = pd.read_csv(COSTS).groupby("method")
    words: dict[ModuleType, list[str]] = {}
    for word in METHODS:
        words.setdefault(sys.modules[METHODS.parse(word).load().__module__], []).append(word)
    return "\n".join([HEAD, *(write_card(module, names, costs) for module, names in words.items())])


def write_card(module: ModuleType, words: list[str], costs: Any) -> str:
    """Return the section of a module and its words."""
    card = translate_blocks(inspect.cleandoc(module.__doc__ or ""), names_of_hyperparameters(words))
    lines = [f"## {', '.join(words)}", card, write_hyperparameters(words)]
    steps = [step for word in words if word in costs.groups for step in format_steps(word, costs.get_group(word))]
    return "\n\n".join([*filter(None, lines), *(["Cost of a step: " + "; ".join(steps) + "."] if steps else [])]) + "\n"


def names_of_hyperparameters(words: list[str]) -> set[str]:
    """Return the names of all hyperparameters of some words."""
    return {name for word in words for name in describe_parameters(METHODS, word)}


def write_hyperparameters(words: list[str]) -> str:
    """Return a table with a row per hyperparameter, and a column per word with other defaults than the word before."""
    cards = {word: describe_parameters(METHODS, word) for word in words}
    columns = {tuple(group): card for card, group in groupby(words, key=cards.__getitem__)}
    kinds = {name: kind for card in cards.values() for name, (kind, _) in card.items()}
    rows = [["hyperparameter", "value", *(", ".join(group) for group in columns)], ["---"] * (2 + len(columns))]
    rows += [
        [f"`{name}`", kind, *(card[name][1] if name in card else "" for card in columns.values())]
        for name, kind in kinds.items()
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) if kinds else ""


def format_steps(word: str, steps: pd.DataFrame) -> list[str]:
    """Return the relative time and memory of a word's step, in each of its phases."""
    several = len(steps) > 1
    return [
        f"`{word}`{f', phase {row.phase}' if several else ''} {row.ratio:.2f} of the time"
        f" and {row.memory_ratio:.2f} of the memory"
        for row in steps.itertuples()
    ]
