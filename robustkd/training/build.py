"""Construction of a method from named ingredients and hyperparameters, as pytest does with fixtures."""

from collections.abc import Callable, Mapping
from typing import Any

from robustkd.method import Method
from robustkd.method_spec import MethodSpec

Ingredients = Mapping[str, Callable[[], Any]]


def build_method(spec: MethodSpec, ingredients: Ingredients) -> Method:
    """Construct the method. Only the ingredients that it asks for are made.

    Raises:
        UsageError: a hyperparameter is wrong, or the method refuses its ingredients.
    """
    kwargs = spec.method.kwargs()
    method: Method = spec.method.load()(**{name: ingredients[name]() for name in spec.ingredients()}, **kwargs)
    return method
