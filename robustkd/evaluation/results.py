"""Results of evaluating a network, as validated data: what result.json holds and every table reads."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

ByClass = dict[str, float | None]  # None where a class has no such value


LATENCY_BATCH = 32  # images


class Result(BaseModel):
    """Base of all recorded data: immutable, without unknown fields, NaN and infinity as null in JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null", protected_namespaces=())


class Latency(Result):
    """Milliseconds that a network takes on one thread of the CPU, and on the study's device if it is another; None if unknown.

    Attributes:
        cpu_image_ms, device_image_ms: for one image.
        cpu_batch_ms, device_batch_ms: for a batch of LATENCY_BATCH images.
    """

    cpu_image_ms: float | None = None
    cpu_batch_ms: float | None = None
    device_image_ms: float | None = None
    device_batch_ms: float | None = None


class ReliabilityBin(Result):
    """Rows whose confidence is in (low, high]; mean confidence and accuracy are None where there are none."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


class TemperatureScaling(Result):
    """NLL and ECE after division of the logits by one temperature; None where logits are not finite."""

    temperature: float | None
    nll: float | None
    ece: float | None


class NetMetrics(Result):
    """A network on one set of rows.

    Attributes:
        rows: number of rows.
        metrics: those of the metric table that are one number per network, by name.
        recall, precision, f1: by class name. A class without rows has no recall, one that is never predicted no precision,
            one of which both is true no F1: None. One that is only predicted, or only has rows, has an F1 of 0.
        support: rows by class name.
        confusion: how many rows of a class were predicted as which, by both names, without zeros: of many classes, few pairs
            occur. Can also be given as a (K, K) matrix with labels in rows, as files of earlier versions have it.
        reliability: the bins behind the ECE, empty where logits are not finite.
        groups: mean recall by group of classes; None where no class of the group has rows.
        scaled: after temperature scaling on held-out rows, where there are any.
    """

    rows: int
    metrics: dict[str, float | None]
    recall: ByClass
    precision: ByClass
    f1: ByClass
    support: dict[str, int]
    confusion: dict[str, dict[str, int]]
    reliability: list[ReliabilityBin]
    groups: dict[str, float | None]
    scaled: TemperatureScaling | None = None

    @field_validator("confusion", mode="before")
    @classmethod
    def _name_counts(cls, counts: Any, info: ValidationInfo) -> Any:
        if isinstance(counts, dict):
            return counts
        names = list(info.data.get("support", {}))
        lines = zip(names, counts, strict=True)
        named = {label: {name: n for name, n in zip(names, line, strict=True) if n} for label, line in lines}
        return {label: line for label, line in named.items() if line}

    def confusion_matrix(self) -> NDArray[np.int64]:
        """Return the confusion counts as a matrix, rows by label, columns by prediction: (K, K)."""
        place = {name: number for number, name in enumerate(self.support)}
        matrix = np.zeros((len(place), len(place)), np.int64)
        for label, line in self.confusion.items():
            for predicted, count in line.items():
                matrix[place[label], place[predicted]] = count
        return matrix

    @property
    def by_class(self) -> dict[str, ByClass]:
        """The metrics that are one number per class, by name."""
        return {"recall": self.recall, "precision": self.precision, "f1": self.f1}


class FitMetrics(Result):
    """A network on the rows it was trained on, as far as their true labels are known.

    Attributes:
        known: rows whose true label is known.
        corrupted: of these, rows with a wrong label.
        foreign: rows whose image belongs to no class.
        metrics: memorised, recovered, clean_fit, foreign_fitted and loss_auroc; a share of no rows is None.
    """

    known: int
    corrupted: int
    foreign: int
    metrics: dict[str, float | None]


class AttackMetrics(Result):
    """A network on attacked test images.

    Attributes:
        attack: the attack as typed.
        accuracy, balanced_accuracy, recall: on the attacked images.
        largest_linf, largest_l2: the largest change of any image; of a user's own attack only.
    """

    attack: str
    accuracy: float
    balanced_accuracy: float
    recall: ByClass
    largest_linf: float | None = None
    largest_l2: float | None = None
