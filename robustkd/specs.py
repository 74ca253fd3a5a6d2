"""The grammar of names with parameters that users type, and their validation against signatures.

    name        noise0.4    noise(0.4)    noise(rate=0.4, convention=inclusive)
    chain       imbalance0.2+noise0.4                  left to right
    list        baseline,hinton(alpha=0.7)+balanced    commas outside brackets and quotes

Nothing here imports what a name refers to: a name can be refused before torch is loaded.
"""

import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from robustkd.errors import UsageError, did_you_mean
from robustkd.types import validate

MAX_LENGTH = 1000  # characters of a name with its parameters
_NUMBER = re.compile(r"[+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_CONSTANTS = {"True": True, "False": False, "None": None}


def split_at(text: str, separator: str) -> list[str]:
    """Split at a separator, ignoring separators inside brackets and quotes.

    Raises:
        UsageError: a bracket or quote is not closed, or a part is empty.

    >>> split_at("hinton(alpha=0.7, temperature=2)+balanced,dml", ",")
    ['hinton(alpha=0.7, temperature=2)+balanced', 'dml']
    """
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        depth += (letter == "(") - (letter == ")") if not quote else 0
        if letter == separator and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    if depth or quote:
        raise UsageError(f"'{text}': {'a quote' if quote else 'a bracket'} is not closed")
    parts = [part.strip() for part in parts]
    if not all(parts):
        raise UsageError(f"'{text}': there is nothing on one side of a '{separator}'")
    return parts


@dataclass(frozen=True)
class Spec:
    """A name with parameters as typed, resolved to what it refers to."""

    text: str
    kind: str
    name: str
    target: str | Callable[..., Any]  # "module:name" within the package, or the object itself
    package: str
    preset: Mapping[str, Any]  # parameters that the name itself sets
    positional: tuple[Any, ...]
    named: Mapping[str, Any]
    fields: Mapping[str, Any]  # read from a template such as resnet{depth}

    @property
    def canonical(self) -> str:
        """The text in one spelling: named parameters in alphabetical order, numbers in their shortest form.

        Two texts that differ only in spaces, order or zeros are the same method, and share a row and a folder.
        """
        named = [f"{name}={_spell(value)}" for name, value in sorted(self.named.items())]
        inside = ", ".join([*map(_spell, self.positional), *named])
        return f"{self.name}({inside})" if inside else self.name

    def load(self) -> Any:
        """Import what the name refers to."""
        if not isinstance(self.target, str):
            return self.target
        module, name = self.target.split(":")
        return getattr(importlib.import_module(f"{self.package}.{module}"), name)

    def kwargs(self) -> dict[str, Any]:
        """Return the keyword arguments for the target, validated against its signature.

        Raises:
            UsageError: a parameter does not exist, is missing, is given twice, or its value breaks its type or bounds.
        """
        values = self.given()
        for name, parameter in settable_parameters(self.load()).items():
            if parameter.default is inspect.Parameter.empty and name not in values:
                raise UsageError(f"{self.kind} '{self.text}' needs a value for {name}, as in {self.name}({name}=VALUE)")
        return values

    def given(self) -> dict[str, Any]:
        """Return the parameters that the name or the text gives, validated.

        Raises:
            UsageError: a parameter does not exist, is given twice, or its value breaks its type or bounds.
        """
        target = self.load()
        # A parameter that is part of the name, like the 20 of resnet20, cannot be set again.
        settable = {name: p for name, p in settable_parameters(target).items() if name not in self.fields}
        if len(self.positional) > len(settable):
            raise UsageError(f"{self.kind} '{self.text}': '{self.name}' takes at most {len(settable)} values")
        placed = dict(zip(settable, self.positional, strict=False))
        for name in placed.keys() & self.named.keys():
            raise UsageError(f"{self.kind} '{self.text}' sets {name} twice")
        hints = parameter_types(target)
        values = {}
        for name, value in {**self.preset, **placed, **self.named}.items():
            if name not in settable:
                known = ", ".join(settable) or "none"
                hint = did_you_mean(name, settable)
                raise UsageError(f"{self.kind} '{self.name}' has no parameter '{name}'{hint}; it has: {known}")
            values[name] = validate(f"{self.kind} '{self.text}': {name}", hints[name], value)
        for name, value in self.fields.items():
            values[name] = validate(f"{self.kind} '{self.text}': {name}", hints[name], value)
        return values


def settable_parameters(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters that a user may set: the keyword-only ones, or all where there are none.

    Ingredients (the student, the images' shape) precede the star and are not set by the user.
    """
    signature = inspect.signature(target).parameters
    keyword_only = {name: p for name, p in signature.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
    has_ingredients = any(p.default is inspect.Parameter.empty for p in signature.values())
    if keyword_only or (has_ingredients and not hasattr(target, "__dataclass_fields__")):
        return keyword_only
    return dict(signature)


def parameter_types(target: Any) -> dict[str, Any]:
    """Return each parameter's annotation, bounds included; without one, as in a user's file, the type of its default."""
    parameters = inspect.signature(target).parameters.items()
    known = {name: Any if p.default in (p.empty, None) else type(p.default) for name, p in parameters}
    return {**known, **get_type_hints(target.__init__ if inspect.isclass(target) else target, include_extras=True)}


def parse_arguments(kind: str, text: str, inside: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Parse what is between a spec's brackets: numbers, bare words (also paths) or "quoted strings", named ones last.

    Raises:
        UsageError: the text is not a list of values.
    """
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for part in split_at(inside, ",") if inside.strip() else []:
        match = re.fullmatch(r"(?:([A-Za-z_]\w*)\s*=)?\s*(.+)", part, re.DOTALL)
        assert match is not None  # split_at returns no empty part
        name, value = match.groups()
        if name in named:
            raise UsageError(f"{kind} '{text}' sets {name} twice")
        if name:
            named[name] = parse_value(value)
        elif named or value.endswith("="):
            raise UsageError(f"{kind} '{text}': '{inside}' is not a list such as 'key=value, key=\"a text\"'")
        else:
            positional.append(parse_value(value))
    return tuple(positional), named


def parse_value(text: str) -> Any:
    """Parse a number, a quoted string, True, False or None; anything else is a bare word.

    >>> parse_value("4"), parse_value("-.5e-3"), parse_value("'4'"), parse_value("True"), parse_value("a/b.csv")
    (4, -0.0005, '4', True, 'a/b.csv')
    """
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    if not _NUMBER.fullmatch(text):
        return text
    digits = text.replace("_", "")
    return int(digits) if digits.lstrip("+-").isdigit() else float(digits)


def _spell(value: Any) -> str:
    """Return the shortest text that `parse_value` parses as a value."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)  # 2.0 and 2 are the same value of a number
    if not isinstance(value, str):
        return repr(value)
    quote = "'" if '"' in value else '"'
    is_plain = value and parse_value(value) == value and not re.search(r"[\s,()+='\"]", value)
    return value if is_plain else f"{quote}{value}{quote}"
