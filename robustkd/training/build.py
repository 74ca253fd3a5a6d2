"""Construction of a method from named ingredients and hyperparameters, as pytest does with fixtures."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from robustkd.criteria.base import Criterion
from robustkd.errors import UsageError
from robustkd.method import Method
from robustkd.method_spec import MethodSpec
from robustkd.specs import Spec, settable_parameters
from robustkd.types import DatasetInfo

Ingredients = Mapping[str, Callable[[], Any]]


def build_method(spec: MethodSpec, ingredients: Ingredients) -> Method:
    """Construct the method. Only the ingredients that it asks for are made.

    Raises:
        UsageError: a hyperparameter is wrong, the method refuses its ingredients, or it is not a Method.
    """
    kwargs = spec.method.kwargs()
    method = spec.method.load()(**{name: ingredients[name]() for name in spec.ingredients()}, **kwargs)
    if not isinstance(method, Method):
        raise UsageError(
            f"method '{spec.method.name}' makes a {type(method).__name__}, but a robustkd.method.Method is wanted"
        )
    return method


def bind_criterion(spec: Spec, data: DatasetInfo) -> Callable[[], Criterion]:
    """Return what makes an instance of a criterion for each supervised output.

    Only a criterion that asks for `data`, by a positional parameter, is given it.

    Raises:
        UsageError: a parameter is wrong, the criterion asks for more than `data`, or it is not a Criterion.
    """
    target = spec.load()
    if not (inspect.isclass(target) and issubclass(target, Criterion)):
        raise UsageError(f"criterion '{spec.name}' is not a class derived from robustkd.criteria.base.Criterion")
    kwargs = spec.kwargs()
    settable = settable_parameters(target)
    wanted = [p for name, p in inspect.signature(target).parameters.items() if name not in settable]
    required = [p.name for p in wanted if p.kind is not p.VAR_KEYWORD and p.kind is not p.VAR_POSITIONAL]
    if len(required) > 1:
        raise UsageError(
            f"criterion '{spec.name}' asks for {', '.join(required)}, but `data` is all that it can be given; parameters with"
            " a value of their own come after a *"
        )
    takes_data = any(p.kind is not p.VAR_KEYWORD for p in wanted)
    return partial(target, data, **kwargs) if takes_data else partial(target, **kwargs)
