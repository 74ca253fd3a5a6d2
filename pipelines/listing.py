"""Tables of the commands that list what is registered. rich is imported only when a table is printed."""

import sys

from robustkd import types
from robustkd.models import MODELS
from robustkd.registry import Registry
from robustkd.specs import parameter_types, settable_parameters


def print_registry(registry: Registry, word: str | None) -> None:
    """Print the entries of a registry, or the documentation and parameters of one word.

    Raises:
        robustkd.errors.UsageError: the word is not registered.
    """
    if word is None:
        print_entries(registry)
    else:
        print_parameters(registry, word)


def print_models(word: str | None) -> None:
    """Print the networks, or the parameters of one and how images are prepared for its weights.

    Raises:
        robustkd.errors.UsageError: there is no such network.
    """
    if word is None:
        print_entries(MODELS)
        return
    from robustkd.models.preprocessing import weights_preprocessing  # imports torch

    weights = weights_preprocessing(MODELS.parse(word))
    print_parameters(MODELS, word)
    if weights is not None:
        mean, std = (", ".join(f"{value:g}" for value in values) for values in (weights.mean, weights.std))
        sys.stdout.write(
            f"Its weights are for images of {weights.image_size}x{weights.image_size}, {weights.crop_share:g} of the side of"
            f" the resized image ({weights.interpolation}), with mean {mean} and std {std}.\n"
        )


def print_entries(registry: Registry) -> None:
    """Print the name, summary and examples of each entry."""
    from rich.table import Table

    from pipelines.console import console

    table = Table(box=None, show_header=False)
    for name in registry:
        examples = ", ".join(registry[name].examples)
        table.add_row(name, registry[name].summary + (f": {examples}" if examples else ""))
    console.print(table)


def print_parameters(registry: Registry, word: str) -> None:
    """Print the documentation of an entry, and its parameters with their types and values."""
    from rich.table import Table

    from pipelines.console import console

    described = describe_parameters(registry, word)  # before anything is printed: a word may be refused
    target = registry.parse(word).load()
    sys.stdout.write((sys.modules[target.__module__].__doc__ or target.__doc__ or "").strip() + "\n\n")
    table = Table(box=None, show_header=False)
    for name, (kind, value) in described.items():
        table.add_row(name, kind, value)
    console.print(table)


def describe_parameters(registry: Registry, word: str) -> dict[str, tuple[str, str]]:
    """Return the type and the value of each parameter of a word, by its name.

    The value is the one given, or the default; of a default that is derived from data and networks, its rule.

    >>> from robustkd.methods import METHODS
    >>> describe_parameters(METHODS, "hinton(temperature=2)")
    {'alpha': ('number from 0 to 1', '0.9'), 'temperature': ('number above 0', '2')}
    """
    spec = registry.parse(word)
    target, given = spec.load(), spec.given()
    hints, derived = parameter_types(target), getattr(target, "derived", {})
    described = {}
    for name, parameter in settable_parameters(target).items():
        value = given.get(name, "needed" if parameter.default is parameter.empty else parameter.default)
        value = derived.get(name, value) if value is None else value
        text = f"{value:.4g}" if type(value) is float else str(value)
        described[name] = types.describe_type(hints[name]), text
    return described
