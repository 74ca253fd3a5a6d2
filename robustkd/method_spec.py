"""A method and the criterion it uses for labels, as typed: `method` or `method+criterion`. Parsed once, at the edge."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robustkd.criteria import CRITERIA
from robustkd.errors import UsageError, did_you_mean
from robustkd.methods import METHODS
from robustkd.specs import Spec, settable_parameters, split_at
from robustkd.types import TrainingLabels

INGREDIENTS = ("student", "students", "teacher", "data", "criterion", "random", "cost_ratio")
DEFAULT_CRITERION = "ce"


@dataclass(frozen=True)
class MethodSpec:
    """A parsed method with its criterion. Equality and hash are those of the text, which has one spelling.

    >>> spec = MethodSpec.parse("hinton(alpha=0.7)+balanced")
    >>> spec.method.name, spec.criterion.name
    ('hinton', 'balanced')
    >>> MethodSpec.parse("smooth( labels = 0.10,consistency=1)+ce").text
    'smooth(consistency=1, labels=0.1)'
    """

    text: str
    method: Spec = field(compare=False)
    criterion: Spec = field(compare=False)

    @classmethod
    def parse(cls, text: str) -> "MethodSpec":
        """Parse a method; nothing it refers to is imported yet.

        Raises:
            UsageError: the text breaks the grammar, or a name is unknown.
        """
        method, *criteria = split_at(text, "+")
        if len(criteria) > 1:
            raise UsageError(f"method '{text}': it takes at most one criterion after a '+'")
        spec, criterion = METHODS.parse(method), CRITERIA.parse(criteria[0] if criteria else DEFAULT_CRITERION)
        texts = [each.canonical for each in (spec, criterion)]
        return cls("+".join(texts[:1] if texts[1] == DEFAULT_CRITERION else texts), spec, criterion)

    @property
    def criterion_text(self) -> str:
        """The criterion in one spelling."""
        return self.criterion.canonical

    def check(self) -> None:
        """Import method and criterion and validate their parameters.

        Raises:
            UsageError: a parameter is wrong, or the method asks for an unknown ingredient.
        """
        self.ingredients()
        self.method.kwargs()
        self.criterion.kwargs()

    def ingredients(self) -> tuple[str, ...]:
        """Return the ingredients that the method's constructor asks for by name.

        Raises:
            UsageError: it asks for something that is not an ingredient.
        """
        target = self.method.load()
        hyperparameters = settable_parameters(target)
        names = tuple(name for name in inspect.signature(target).parameters if name not in hyperparameters)
        for name in names:
            if name not in INGREDIENTS:
                hint = did_you_mean(name, INGREDIENTS)
                raise UsageError(
                    f"method '{self.method.name}' asks for '{name}'{hint}; ingredients are: {', '.join(INGREDIENTS)}"
                )
        return names

    @property
    def needs_teacher(self) -> bool:
        """Whether the method is distilled from a teacher that is trained first."""
        return "teacher" in self.ingredients()

    @property
    def teacher_labels(self) -> TrainingLabels:
        """The labels that the teacher it asks for is trained with."""
        labels: TrainingLabels = getattr(self.method.load(), "teacher_labels", "given")
        return labels

    @property
    def oracle(self) -> bool:
        """Whether the method or its criterion uses knowledge that a user would not have, such as true labels."""
        return any(
            getattr(spec.load(), "oracle", False)
            or spec.kwargs().keys() & {*getattr(spec.load(), "oracle_parameters", ())}
            for spec in (self.method, self.criterion)
        )

    def files(self) -> tuple[Path, ...]:
        """Return the files that method and criterion read: those that their file parameters name."""
        return tuple(
            Path(path).expanduser()
            for spec in (self.method, self.criterion)
            for name, path in spec.kwargs().items()
            if name in getattr(spec.load(), "file_parameters", ()) and path
        )

    def hyperparameters(self, resolved: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return every hyperparameter of method and criterion with its value, as "name.parameter".

        Args:
            resolved: defaults of the method that its constructor derived, as in `Method.resolved`.
        """
        values = {}
        for spec, derived in ((self.method, resolved or {}), (self.criterion, {})):
            defaults = {name: p.default for name, p in settable_parameters(spec.load()).items()}
            named = {**defaults, **derived, **spec.kwargs()}
            values.update({f"{spec.name}.{name}": value for name, value in named.items()})
        return values

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as text: what a plugin defines cannot be pickled, and the receiving process has loaded it too."""
        return _parse_method, (self.text,)


def _parse_method(text: str) -> MethodSpec:
    """Parse a method: a function, as Ray pickles the code of a class's own."""
    return MethodSpec.parse(text)


def spell_method(text: str) -> str:
    """Return the spelling of a method under which its runs are recorded; an unknown one, as of a plugin, as it is.

    >>> spell_method("hinton( temperature=2.0,alpha=.50 )+ce"), spell_method("mine(a=1)")
    ('hinton(alpha=0.5, temperature=2)', 'mine(a=1)')
    """
    try:
        return MethodSpec.parse(text).text
    except UsageError:
        return text
