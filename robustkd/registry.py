"""Registries: the names of one kind (methods, nets, ...), listed without importing what they refer to."""

import difflib
import importlib.util
import inspect
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from robustkd.errors import UsageError, did_you_mean
from robustkd.specs import MAX_LENGTH, Spec, parse_arguments, parse_value

MAX_LISTED = 200  # characters of a list of names in an error message
# Dictionaries that a user's file may define.
PLUGIN_TABLES = ("METHODS", "SCENARIOS", "MODELS", "CRITERIA", "VIEWS", "AUGMENTATIONS", "DATASETS")


@dataclass(frozen=True)
class Entry:
    """An entry of a registry: where its target is defined, and a one-line summary."""

    target: str | Callable[..., Any]  # "module:name" within the registry's package, or the object itself
    summary: str = ""
    preset: Mapping[str, Any] = field(default_factory=dict)
    examples: tuple[str, ...] = ()  # names that a template such as resnet{depth} matches


class Registry(Mapping[str, Entry]):
    """The names of one kind.

    Args:
        kind: what error messages call an entry, such as "method".
        package: the package that the entries' targets are relative to.
        group: the entry-point group through which installed packages add entries.
        entries: name -> entry; a name may be a template such as resnet{depth}.
    """

    def __init__(self, kind: str, package: str, group: str, entries: Mapping[str, Entry]) -> None:
        self.kind, self.package, self.group, self._own = kind, package, group, dict(entries)
        self._external: dict[str, Entry] | None = None  # of installed packages; read on first use

    def _all(self) -> dict[str, Entry]:
        if self._external is None:
            points = entry_points(group=self.group)
            self._external = {point.name: Entry(point.load, f"from {point.value}") for point in points}
        return {**self._external, **self._own}

    def __getitem__(self, name: str) -> Entry:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def add(self, name: str, target: Callable[..., Any]) -> None:
        """Add a user's entry.

        Raises:
            UsageError: the name belongs to another entry.
        """
        if name in self._own and self._own[name].target is not target:
            raise UsageError(f"the {self.kind} '{name}' already exists: choose another name for yours")
        self._own[name] = Entry(target, (inspect.getdoc(target) or "").split("\n")[0])

    def parse(self, text: str) -> Spec:
        """Parse a name with its parameters.

        Raises:
            UsageError: the text breaks the grammar, or the name is not in the registry.
        """
        text = text.strip()
        if len(text) > MAX_LENGTH:
            raise UsageError(
                f"{self.kind} '{text[:40]}...' has {len(text)} characters; at most {MAX_LENGTH} are allowed"
            )
        match = re.fullmatch(r"([A-Za-z_][\w:.-]*?)\s*(?:\((.*)\))?", text, re.DOTALL)
        if not match:
            raise UsageError(f"{self.kind} '{text}' is not of the form 'name', 'name0.4' or 'name(key=value)'")
        typed, inside = match.groups()
        positional, named = parse_arguments(self.kind, text, inside or "")
        name = typed
        entry, fields = self._find(name)
        if entry is None:  # name0.4: a number at the end is the first value
            number = re.fullmatch(r"([A-Za-z_][A-Za-z_:]*?)(-?\d+(?:\.\d*)?(?:e-?\d+)?|-?\.\d+)", name)
            if number:
                name, first = number.groups()
                entry, fields = self._find(name)
                positional = (parse_value(first), *positional)
        if entry is None:
            name = typed if any("{" in name_ for name_ in self._all()) else name
            raise UsageError(self._unknown_message(name))
        target = entry.target
        if name in (self._external or {}) and name not in self._own:
            target = target()  # type: ignore[operator]  # an entry point, loaded now
        return Spec(text, self.kind, name, target, self.package, entry.preset, positional, named, fields)

    def _unknown_message(self, name: str) -> str:
        """Return the message for a name that is not in the registry, with all names or, of many, the nearest."""
        known = sorted(example for name_, e in self._all().items() for example in (e.examples or (name_,)))
        listed = f"there are: {', '.join(known)}"
        if len(listed) > MAX_LISTED:
            nearest = difflib.get_close_matches(name, known, n=6, cutoff=0.0)
            listed = f"the nearest of {len(known)} are: {', '.join(nearest)}"
        return f"no {self.kind} is called '{name}'{did_you_mean(name, known)}; {listed}"

    def _find(self, name: str) -> tuple[Entry | None, dict[str, Any]]:
        table = self._own if name in self._own else self._all()
        if name in table and "{" not in name:
            return table[name], {}
        for template, entry in table.items():
            letters = "A-Za-z0-9_.-" if ":" in template else "A-Za-z0-9_"
            pattern = re.sub(r"\\{(\w+)\\}", rf"(?P<\1>[{letters}]+)", re.escape(template))
            match = re.fullmatch(pattern, name) if "{" in template else None
            if match and (":" in template or all(part.isdigit() for part in match.groups())):
                return entry, {k: int(v) if v.isdigit() else v for k, v in match.groupdict().items()}
        return None, {}


def load_plugin(path: str, registries: Mapping[str, Registry]) -> None:
    """Add what a user's Python file defines to the registries.

    Args:
        registries: by the name of the dictionary that feeds each, such as METHODS.

    Raises:
        UsageError: the file is missing, fails when run, or defines none of the dictionaries.
    """
    file = Path(path)
    if not file.is_file():
        raise UsageError(f"--plug {path}: there is no such file")
    try:
        module = import_file(file)
    except Exception as error:
        raise UsageError(f"--plug {path}: running it failed with {type(error).__name__}: {error}") from error
    if not any(hasattr(module, name) for name in PLUGIN_TABLES):
        raise UsageError(f"--plug {path}: it defines none of the dictionaries {', '.join(PLUGIN_TABLES)}")
    for name, registry in registries.items():
        for key, target in getattr(module, name, {}).items():
            registry.add(key, target)


def import_file(file: Path) -> ModuleType:
    """Import a user's file as a module, once per process, so that what it defines keeps its identity.

    Raises:
        Exception: whatever the file raises; the next call runs it again.
    """
    name = f"robustkd_user_{zlib.crc32(str(file.resolve()).encode()):08x}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise ImportError(f"{file.name} is not a Python file (.py)")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(sys.modules[name])
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]
