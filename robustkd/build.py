"""Constructs a method from named ingredients and chosen hyperparameters, as pytest does with fixtures."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from robustkd.criteria import CRITERIA
from robustkd.method import Method
from robustkd.methods import METHODS
from robustkd.words import UsageError, Word, nearest, parameters, split

INGREDIENTS = ("student", "students", "teacher", "data", "criterion", "random")
Ingredients = Mapping[str, Callable[[], Any]]


def read(text: str) -> tuple[Word, Word]:
    """A method and the criterion it believes labels by: `method` or `method+criterion`.

    >>> [word.word for word in read("hinton(alpha=0.7)+balanced")]
    ['hinton', 'balanced']
    """
    parts = split(text, "+")
    if len(parts) > 2:
        raise UsageError(f"method '{text}': one criterion at most stands behind a '+'")
    return METHODS.read(parts[0]), CRITERIA.read(parts[1] if len(parts) == 2 else "ce")


def needs(method: Word) -> tuple[str, ...]:
    """The ingredients that a method's constructor names.

    Raises:
        UsageError: it names something that is no ingredient.
    """
    target = method.load()
    hyper = parameters(target)
    names = tuple(name for name in inspect.signature(target).parameters if name not in hyper)
    for name in names:
        if name not in INGREDIENTS:
            hint = nearest(name, INGREDIENTS)
            raise UsageError(
                f"method '{method.word}' asks for '{name}'{hint}; ingredients are: {', '.join(INGREDIENTS)}"
            )
    return names


def build(method: Word, ingredients: Ingredients) -> Method:
    """The method, made from the ingredients it names; the others are not made."""
    chosen = method.chosen()
    made: Method = method.load()(**{name: ingredients[name]() for name in needs(method)}, **chosen)
    return made
