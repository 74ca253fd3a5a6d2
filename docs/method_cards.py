"""The page of all methods' cards: their modules' documentation, their hyperparameters, and what a step costs."""

import inspect
import sys
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from robustkd import types
from robustkd.methods import METHODS
from robustkd.specs import parameter_types, settable_parameters

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
        words.setdefault(sys.modules[load(word).__module__], []).append(word)
    return "\n".join([HEAD, *(write_card(module, names, costs) for module, names in words.items())])


def load(word: str) -> Any:
    """Return what a word of the registry builds."""
    return METHODS.parse(word).load()


def write_card(module: ModuleType, words: list[str], costs: Any) -> str:
    """Return the section of a module and its words."""
    card = inspect.cleandoc(module.__doc__ or "")
    lines = [f"## {', '.join(words)}", card, write_hyperparameters(words)]
    steps = [step for word in words if word in costs.groups for step in format_steps(word, costs.get_group(word))]
    return "\n\n".join([*filter(None, lines), *(["Cost of a step: " + "; ".join(steps) + "."] if steps else [])]) + "\n"


def write_hyperparameters(words: list[str]) -> str:
    """Return a table with a row per hyperparameter, and a column per word with other defaults than the word before."""
    defaults = {word: format_defaults(word) for word in words}
    columns = {tuple(group): cells for cells, group in groupby(words, key=defaults.__getitem__)}
    hints = {name: kind for word in words for name, kind in parameter_types(load(word)).items()}
    names = list(dict.fromkeys(name for cells in columns.values() for name in cells))
    rows = [["hyperparameter", "value", *(", ".join(group) for group in columns)], ["---"] * (2 + len(columns))]
    rows += [
        [f"`{name}`", types.describe_type(hints[name]), *(c.get(name, "") for c in columns.values())] for name in names
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) if names else ""


def format_defaults(word: str) -> dict[str, str]:
    """Return the default of each hyperparameter of a word; of one that is derived from the data, its rule."""
    target, given = METHODS.parse(word).load(), METHODS.parse(word).given()
    rules, texts = getattr(target, "derived", {}), {}
    for name, parameter in settable_parameters(target).items():
        value = given.get(name, "needed" if parameter.default is parameter.empty else parameter.default)
        value = rules.get(name, value) if value is None else value
        texts[name] = f"{value:.4g}" if type(value) is float else str(value)
    return texts


def format_steps(word: str, steps: pd.DataFrame) -> list[str]:
    """Return the relative time and memory of a word's step, in each of its phases."""
    several = len(steps) > 1
    return [
        f"`{word}`{f', phase {row.phase}' if several else ''} {row.ratio:.2f} of the time"
        f" and {row.memory_ratio:.2f} of the memory"
        for row in steps.itertuples()
    ]
