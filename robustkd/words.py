"""The words a user types: their grammar, the tables that list them, and the one sentence that says what is wrong.

    word        noise0.4    noise(0.4)    noise(rate=0.4, convention=inclusive)
    chain       imbalance0.2+noise0.4                  left to right
    list        baseline,hinton(alpha=0.7)+balanced    commas outside brackets and quotes

Nothing here imports what a word stands for: a table can be listed, and a word refused, before torch is loaded.
"""

import ast
import difflib
import importlib
import importlib.util
import inspect
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, get_type_hints

from annotated_types import Ge, Gt, Interval
from pydantic import AllowInfNan, TypeAdapter, ValidationError

# Types that hyperparameters and options are annotated with: the signature is the schema, bounds included.
Share = Annotated[float, Interval(ge=0, le=1)]
Positive = Annotated[float, Gt(0), AllowInfNan(False)]
NotNegative = Annotated[float, Ge(0), AllowInfNan(False)]
Ratio = Annotated[float, Interval(gt=1, le=1e6)]
Seed = Annotated[int, Interval(ge=0, lt=2**63)]
Count = Annotated[int, Ge(1)]
Several = Annotated[int, Ge(2)]


class UsageError(ValueError):
    """Something a user did that cannot be done: one sentence with what, where, and what would be right."""


class Failed(RuntimeError):
    """Something that was begun and did not succeed; the message says what is there all the same."""


def nearest(word: str, words: Iterable[str]) -> str:
    """The hint for a misspelt word, or nothing.

    >>> nearest("nois", ["noise", "step"])
    " (did you mean 'noise'?)"
    """
    close = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""


def unknown(kind: str, word: str, words: Sequence[str], most: int = 10) -> str:
    """What is said of a word that is none of those there are, of which a sentence holds the first few.

    >>> unknown("class", "dgo", ["cat", "dog", "eel"], most=2)
    "there is no class 'dgo' (did you mean 'dog'?); there are: cat, dog and 1 more"
    """
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return f"there is no {kind} '{word}'{nearest(word, words)}; there are: {', '.join(words[:most])}{more}"


def split(text: str, separator: str) -> list[str]:
    """Split at a separator that stands outside brackets and quotes.

    >>> split("hinton(alpha=0.7, temperature=2)+balanced,dml", ",")
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
        raise UsageError(f"'{text}': nothing stands on one side of a '{separator}'")
    return parts


@dataclass(frozen=True)
class Entry:
    """A line in a table of contents: where a word's meaning lives, and one line about it."""

    target: str | Callable[..., Any]  # "module:name" within the table's package, or the thing itself
    summary: str = ""
    preset: Mapping[str, Any] = field(default_factory=dict)
    examples: tuple[str, ...] = ()  # words a template such as resnet{depth} stands for


@dataclass(frozen=True)
class Word:
    """A word as typed, resolved to its entry: what it means and the values chosen for it."""

    text: str
    kind: str
    word: str
    entry: Entry
    package: str
    positional: tuple[Any, ...]
    named: Mapping[str, Any]
    fields: Mapping[str, Any]  # what a template such as resnet{depth} read from the word

    def load(self) -> Any:
        """Import what the word stands for."""
        if not isinstance(self.entry.target, str):
            return self.entry.target
        module, name = self.entry.target.split(":")
        return getattr(importlib.import_module(f"{self.package}.{module}"), name)

    def chosen(self) -> dict[str, Any]:
        """The values for the word's parameters, checked against the signature they belong to.

        Raises:
            UsageError: a parameter that does not exist, is missing, or whose value breaks its type or bounds.
        """
        target = self.load()
        # What the word itself says, the 20 of resnet20, is nobody's to say again.
        open_to = {name: p for name, p in parameters(target).items() if name not in self.fields}
        if len(self.positional) > len(open_to):
            raise UsageError(f"{self.kind} '{self.text}': '{self.word}' takes {len(open_to)} values at most")
        placed = dict(zip(open_to, self.positional, strict=False))
        for name in placed.keys() & self.named.keys():
            raise UsageError(f"{self.kind} '{self.text}' gives its {name} twice")
        given = {**self.entry.preset, **placed, **self.named}
        hints = annotations(target)
        values = {}
        for name, value in given.items():
            if name not in open_to:
                owned = ", ".join(open_to) or "none"
                hint = nearest(name, open_to)
                raise UsageError(f"{self.kind} '{self.word}' has no parameter '{name}'{hint}; it has: {owned}")
            values[name] = checked(f"{self.kind} '{self.text}': {name}", hints[name], value)
        for name, parameter in open_to.items():
            if parameter.default is inspect.Parameter.empty and name not in values:
                raise UsageError(f"{self.kind} '{self.text}' needs its {name}, as in {self.word}({name}=VALUE)")
        for name, value in self.fields.items():
            values[name] = checked(f"{self.kind} '{self.text}': {name}", hints[name], value)
        return values


def parameters(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """What a word's values may set: the keyword-only part of the signature, or all of it where nothing is.

    Ingredients (the student, the images' shape) stand before the star and are not the user's to choose.
    """
    signature = inspect.signature(target).parameters
    keyword_only = {name: p for name, p in signature.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
    ingredients = any(p.default is inspect.Parameter.empty for p in signature.values())
    if keyword_only or (ingredients and not hasattr(target, "__dataclass_fields__")):
        return keyword_only
    return dict(signature)


def annotations(target: Any) -> dict[str, Any]:
    """What each parameter is annotated with, bounds included."""
    return get_type_hints(target.__init__ if inspect.isclass(target) else target, include_extras=True)


def checked(what: str, annotation: Any, value: Any) -> Any:
    """The value as its annotation wants it.

    >>> checked("noise: rate", Share, 1.4)
    Traceback (most recent call last):
        ...
    robustkd.words.UsageError: noise: rate is 1.4 but should be less than or equal to 1
    """
    try:
        return TypeAdapter(annotation).validate_python(value)
    except ValidationError as error:
        raise UsageError(f"{what} {said(error)}") from None


def said(error: ValidationError) -> str:
    """What a value is and what it should be."""
    first = error.errors()[0]
    rule = first["msg"].replace("Input should be", "should be")
    return f"is {first['input']!r} but {rule[:1].lower()}{rule[1:]}"


KINDS = {"number": "number", "integer": "whole number", "boolean": "True or False", "string": "text"}
BOUNDS = {"minimum": "from {}", "exclusiveMinimum": "above {}", "maximum": "to {}", "exclusiveMaximum": "below {}"}


def wanted(annotation: Any) -> str:
    """What values an annotation takes, in words.

    >>> wanted(Share), wanted(Several)
    ('number from 0 to 1', 'whole number from 2')
    """
    schema = TypeAdapter(annotation).json_schema()
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    bounds = [text.format(f"{schema[key]:g}") for key, text in BOUNDS.items() if key in schema]
    return " ".join([KINDS.get(schema.get("type", ""), "value"), *bounds])


class Registry(Mapping[str, Entry]):
    """A table of contents: words of one kind, listed without importing what they stand for."""

    def __init__(self, kind: str, package: str, group: str, entries: Mapping[str, Entry]) -> None:
        self.kind, self.package, self.group, self._own = kind, package, group, dict(entries)
        self._foreign: dict[str, Entry] | None = None  # what other packages offer; read when first asked for

    def _all(self) -> dict[str, Entry]:
        if self._foreign is None:
            points = entry_points(group=self.group)
            self._foreign = {point.name: Entry(point.load, f"from {point.value}") for point in points}
        return {**self._foreign, **self._own}

    def __getitem__(self, word: str) -> Entry:
        return self._all()[word]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def add(self, word: str, target: Callable[..., Any]) -> None:
        """Let a word stand for something of the user's own; a word of ours is not taken away."""
        if word in self._own and self._own[word].target is not target:
            raise UsageError(f"the {self.kind} '{word}' exists already: choose another word for yours")
        self._own[word] = Entry(target, (inspect.getdoc(target) or "").split("\n")[0])

    def read(self, text: str) -> Word:
        """Resolve one word with its values.

        Raises:
            UsageError: the text breaks the grammar, or the word is not in the table.
        """
        text = text.strip()
        match = re.fullmatch(r"([A-Za-z_][\w:.-]*?)\s*(?:\((.*)\))?", text, re.DOTALL)
        if not match:
            raise UsageError(f"{self.kind} '{text}' is not a word such as 'word', 'word0.4' or 'word(key=value)'")
        word, inside = match.groups()
        positional, named = _values(self.kind, text, inside or "")
        typed = word
        entry, fields = self._find(word)
        if entry is None:  # word0.4: a number at the end is the first value
            number = re.fullmatch(r"([A-Za-z_][A-Za-z_:]*?)(-?\d+(?:\.\d*)?(?:e-?\d+)?|-?\.\d+)", word)
            if number:
                word, first = number.groups()
                entry, fields = self._find(word)
                positional = (ast.literal_eval(first), *positional)
        if entry is None:
            known = [example for name, e in self._all().items() for example in (e.examples or (name,))]
            word = typed if any("{" in name for name in self._all()) else word
            listed = ", ".join(sorted(known))
            raise UsageError(f"no {self.kind} is called '{word}'{nearest(word, known)}; there are: {listed}")
        if word in (self._foreign or {}) and word not in self._own:
            entry = Entry(entry.target(), entry.summary)  # type: ignore[operator]  # an entry point, loaded now
        return Word(text, self.kind, word, entry, self.package, positional, named, fields)

    def _find(self, word: str) -> tuple[Entry | None, dict[str, Any]]:
        table = self._own if word in self._own else self._all()
        if word in table and "{" not in word:
            return table[word], {}
        for template, entry in table.items():
            pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[A-Za-z0-9_]+)", re.escape(template))
            match = re.fullmatch(pattern, word) if "{" in template else None
            if match and (":" in template or all(part.isdigit() for part in match.groups())):
                return entry, {k: int(v) if v.isdigit() else v for k, v in match.groupdict().items()}
        return None, {}


def _values(kind: str, text: str, inside: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The values between a word's brackets: numbers, bare words (a path too) or "quoted strings", named ones last."""
    placed: list[Any] = []
    named: dict[str, Any] = {}
    for part in split(inside, ",") if inside.strip() else []:
        match = re.fullmatch(r"(?:([A-Za-z_]\w*)\s*=)?\s*(.+)", part, re.DOTALL)
        assert match is not None  # split leaves no part empty
        name, value = match.groups()
        if name in named:
            raise UsageError(f"{kind} '{text}' gives its {name} twice")
        if name:
            named[name] = _value(value)
        elif named or value.endswith("="):
            raise UsageError(f"{kind} '{text}': '{inside}' is not a list such as 'key=value, key=\"a text\"'")
        else:
            placed.append(_value(value))
    return tuple(placed), named


def _value(text: str) -> Any:
    """A number, a quoted string or True and the like by Python's rules; anything else is a bare word."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


PLUGS = ("METHODS", "SCENARIOS", "MODELS", "CRITERIA", "VIEWS")  # what a user's file may offer


def plug(path: str, tables: Mapping[str, Registry]) -> None:
    """Take in a user's file: those of its dictionaries that `tables` names join ours.

    Raises:
        UsageError: the file is missing, fails when run, or offers nothing.
    """
    file = Path(path)
    if not file.is_file():
        raise UsageError(f"--plug {path}: there is no such file")
    try:
        module = run(file)
    except Exception as error:
        raise UsageError(f"--plug {path}: running it failed with {type(error).__name__}: {error}") from error
    if not any(hasattr(module, name) for name in PLUGS):
        raise UsageError(f"--plug {path}: it offers none of the dictionaries {', '.join(PLUGS)}")
    for name, table in tables.items():
        for word, target in getattr(module, name, {}).items():
            table.add(word, target)


def run(file: Path) -> ModuleType:
    """A user's file as a module; run once per process, so that what it offers stays the same thing.

    Raises:
        Exception: whatever the file raises; it is run again the next time.
    """
    name = f"robustkd_user_{zlib.crc32(str(file.resolve()).encode()):08x}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise ImportError(f"{file.name} is no Python file, which ends in .py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(sys.modules[name])
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]
