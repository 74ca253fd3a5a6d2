"""Which parameters of a net name its first weights: `pretrained`, `weights` and `checkpoint`. torch is not imported.

A builder that offers weights has at least one of these keyword-only parameters: pretrained=true for published weights,
weights=NAME for one of several, checkpoint=FILE for a file. Without them, the same builder returns the same architecture from
random weights, which is how a stored network is rebuilt.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from robustkd.specs import Spec, settable_parameters

# Each parameter that names weights, with its value for random ones.
RANDOM: dict[str, Any] = {"pretrained": False, "weights": None, "checkpoint": None}


def carries_weights(spec: Spec) -> bool:
    """Return whether a net starts from given weights, by its parameters or by the defaults of its builder.

    Raises:
        UsageError: a parameter of the spec is wrong.
    """
    return any(_weight_parameters(spec).values())


def without_weights(spec: Spec) -> Spec:
    """Return the architecture alone, from random weights: nothing is downloaded or read to build it.

    Raises:
        UsageError: a parameter of the spec is wrong.
    """
    if not carries_weights(spec):
        return spec
    changed = {name: RANDOM[name] for name, value in _weight_parameters(spec).items() if value}
    return _with_parameters(spec, changed)


def with_checkpoint(spec: Spec, file: Path) -> Spec | None:
    """Return the net from the weights of a file; None if its builder has no parameter `checkpoint`.

    Raises:
        UsageError: a parameter of the spec is wrong.
    """
    bare = without_weights(spec)
    return _with_parameters(bare, {"checkpoint": str(file)}) if has_checkpoint(spec) else None


def has_checkpoint(spec: Spec) -> bool:
    """Return whether a net's builder reads weights from a file."""
    return "checkpoint" in settable_parameters(spec.load())


def checkpoint_files(spec: Spec) -> tuple[Path, ...]:
    """Return the files that a net's weights are read from.

    Raises:
        UsageError: a parameter of the spec is wrong.
    """
    file = _weight_parameters(spec).get("checkpoint")
    return (Path(file).expanduser(),) if file else ()


def _weight_parameters(spec: Spec) -> dict[str, Any]:
    """Return the values of the parameters that name weights, as far as the builder has them."""
    given, settable = spec.given(), settable_parameters(spec.load())
    return {name: given.get(name, settable[name].default) for name in RANDOM if name in settable}


def _with_parameters(spec: Spec, changed: dict[str, Any]) -> Spec:
    """Return a spec with other values of some parameters; those that equal the builder's defaults are left out."""
    settable = settable_parameters(spec.load())
    own = {**spec.preset, **spec.fields}
    values = {name: value for name, value in {**spec.given(), **changed}.items() if name not in own}
    named = {name: value for name, value in values.items() if value != settable[name].default}
    other = replace(spec, positional=(), named=named)
    return replace(other, text=other.canonical)
