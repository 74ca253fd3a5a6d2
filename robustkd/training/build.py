"""Constructs a method from named ingredients and chosen hyperparameters, as pytest does with fixtures."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from robustkd.criteria import CRITERIA
from robustkd.errors import UsageError, did_you_mean
from robustkd.method import Method
from robustkd.methods import METHODS
from robustkd.specs import Spec, settable_parameters, split_at

INGREDIENTS = ("student", "students", "teacher", "data", "criterion", "random")
Ingredients = Mapping[str, Callable[[], Any]]


def read(text: str) -> tuple[Spec, Spec]:
    """A method and the criterion it believes labels by: `method` or `method+criterion`.

    >>> [spec.name for spec in read("hinton(alpha=0.7)+balanced")]
    ['hinton', 'balanced']
    """
    parts = split_at(text, "+")
    if len(parts) > 2:
        raise UsageError(f"method '{text}': one criterion at most stands behind a '+'")
    return METHODS.parse(parts[0]), CRITERIA.parse(parts[1] if len(parts) == 2 else "ce")


def needs(method: Spec) -> tuple[str, ...]:
    """The ingredients that a method's constructor names.

    Raises:
        UsageError: it names something that is no ingredient.
    """
    target = method.load()
    hyper = settable_parameters(target)
    names = tuple(name for name in inspect.signature(target).parameters if name not in hyper)
    for name in names:
        if name not in INGREDIENTS:
            hint = did_you_mean(name, INGREDIENTS)
            raise UsageError(
                f"method '{method.name}' asks for '{name}'{hint}; ingredients are: {', '.join(INGREDIENTS)}"
            )
    return names


def build(method: Spec, ingredients: Ingredients) -> Method:
    """The method, made from the ingredients it names; the others are not made."""
    chosen = method.kwargs()
    made: Method = method.load()(**{name: ingredients[name]() for name in needs(method)}, **chosen)
    return made
