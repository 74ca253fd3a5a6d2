"""Data structures that the layers exchange, and annotated types for hyperparameters and options.

Symbols: B batch size, K classes, C H W image, D embedding, N training rows. torch is imported for type checking only, so
that options can be validated before it is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from annotated_types import Ge, Gt, Interval
from pydantic import AllowInfNan, Field, TypeAdapter, ValidationError

from robustkd.errors import UsageError, describe_validation_error

if TYPE_CHECKING:
    from torch import Tensor

# A parameter's annotation is its schema, bounds included.
Share = Annotated[float, Interval(ge=0, le=1)]
Positive = Annotated[float, Gt(0), AllowInfNan(False)]
NonNegative = Annotated[float, Ge(0), AllowInfNan(False)]
Ratio = Annotated[float, Interval(gt=1, le=1e6)]
Seed = Annotated[int, Interval(ge=0, lt=2**63)]
Count = Annotated[int, Ge(1)]
Parallel = Annotated[int, Interval(ge=1, le=4096)]  # threads or processes
AtLeastTwo = Annotated[int, Ge(2)]
Duration = Annotated[str, Field(pattern=r"^\d{1,9}(\.\d{1,9})?[smh]$")]  # as in 90s, 1.5m, 2h
Sampling = Literal["natural", "sqrt", "balanced", "progressive"]
EarlyRule = Literal["best", "smoothed"]  # that chooses an epoch by its accuracy on held-out rows
TeacherStop = Literal["last", "early"]  # the epoch of the teacher that students are distilled from
Compile = Literal["off", "default", "max"]  # of networks while they are trained, by torch.compile
OnNonfinite = Literal["stop", "skip"]  # what happens to a run, or to an update, with a loss that is not finite

# Labels that a network is trained with: as given; the true ones; as given, on the rows where they are the true ones.
TrainingLabels = Literal["given", "true", "untouched"]

TYPE_NAMES = {"number": "number", "integer": "whole number", "boolean": "True or False", "string": "text"}
BOUNDS = {"minimum": "from {}", "exclusiveMinimum": "above {}", "maximum": "to {}", "exclusiveMaximum": "below {}"}


def to_seconds(duration: str) -> float:
    """Return the seconds of a Duration.

    >>> to_seconds("90s"), to_seconds("1.5m"), to_seconds("2h")
    (90.0, 90.0, 7200.0)
    """
    return float(duration[:-1]) * {"s": 1, "m": 60, "h": 3600}[duration[-1]]


def describe_type(annotation: Any) -> str:
    """Describe the values that an annotation accepts.

    >>> describe_type(Share), describe_type(AtLeastTwo), describe_type(Positive | None)
    ('number from 0 to 1', 'whole number from 2', 'number above 0')
    """
    schema = TypeAdapter(annotation).json_schema()
    schema = next((part for part in schema.get("anyOf", ()) if part.get("type") != "null"), schema)
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    bounds = [text.format(f"{schema[key]:g}") for key, text in BOUNDS.items() if key in schema]
    return " ".join([TYPE_NAMES.get(schema.get("type", ""), "value"), *bounds])


def validate(name: str, annotation: Any, value: Any) -> Any:
    """Return the value converted to its annotated type.

    Args:
        name: what the error message calls the value.

    Raises:
        UsageError: the value does not fit the annotation.

    >>> validate("noise: rate", Share, 1.4)
    Traceback (most recent call last):
        ...
    robustkd.errors.UsageError: noise: rate is 1.4 but should be less than or equal to 1
    """
    try:
        return TypeAdapter(annotation).validate_python(value)
    except ValidationError as error:
        raise UsageError(f"{name} {describe_validation_error(error)}") from None


class Clock(NamedTuple):
    """Progress within a phase; the only input of schedules inside a method."""

    epoch: int  # from 0
    epochs: int  # of this phase


@dataclass(frozen=True)
class Mixed:
    """The second labels of mixed images: an image is `weight` of a sample with the batch's labels, the rest of another."""

    labels: Tensor  # (B,) int64, of the other sample
    index: Tensor  # (B,) int64, the row of the other sample
    weight: Tensor  # (B,) float in [0, 1], of the batch's own labels


@dataclass(frozen=True)
class Batch:
    """What a method sees of the data. It never contains true labels."""

    images: Tensor  # (B, C, H, W) float in [0, 1]
    labels: Tensor  # (B,) int64, as given
    index: Tensor  # (B,) int64, the row in the view, 0 to N - 1
    clock: Clock
    views: tuple[Tensor, ...] = ()  # the same images, augmented once for each name in the method's `views`
    mixed: Mixed | None = None  # the second labels, if images and views are mixtures of two samples

    def select(self, rows: Tensor, images: Tensor) -> Batch:
        """Return other images with the labels of some rows of the batch, without views: (M,) int64, (M, C, H, W)."""
        mixed = self.mixed
        if mixed is not None:
            mixed = Mixed(mixed.labels[rows], mixed.index[rows], mixed.weight[rows])
        return replace(self, images=images, labels=self.labels[rows], index=self.index[rows], views=(), mixed=mixed)


class Output(NamedTuple):
    """Output of a network, in float32 whatever precision it computes in."""

    logits: Tensor  # (B, K)
    embedding: Tensor  # (B, D), input of the classification head
    maps: Sequence[Tensor]  # of the stem and each stage, (B, c, h, w)


@dataclass(frozen=True)
class DatasetInfo:
    """What a method may know about its training set. Nothing here distinguishes wrong labels from right ones."""

    samples: int
    counts: tuple[int, ...]  # given labels per class
    shape: tuple[int, int, int]  # C, H, W
    names: tuple[str, ...] = ()  # of the classes; empty where they have none

    @property
    def classes(self) -> int:
        return len(self.counts)


@dataclass
class Objective:
    """Named, already weighted terms whose sum is minimised, and notes that are only logged."""

    terms: dict[str, Tensor]
    notes: dict[str, Tensor] = field(default_factory=dict)

    @property
    def loss(self) -> Tensor:
        import torch

        if not self.terms:
            raise TypeError("an Objective has no terms: there is nothing to minimise")
        return torch.stack(list(self.terms.values())).sum()
