"""The effect of a scenario on a data set: what each step and the whole chain did to labels and class sizes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustkd.data.class_groups import many_medium_few, published_counts, thirds
from robustkd.data.view import Labels, View
from scenarios.base import Scenario


@dataclass(frozen=True, eq=False)
class StepEffect:
    """The effect of one step of a scenario.

    Attributes:
        name: the step as text.
        before: number of samples before the step.
        after: number of samples after it.
        foreign: number of foreign images among those.
        requested: share of samples to be corrupted.
        realised: share of samples after the step that it corrupted, by another label or a foreign image.
        per_class: columns requested and realised, by the label before the step; NaN for a class without samples.
    """

    name: str
    before: int
    after: int
    foreign: int
    requested: float
    realised: float
    per_class: pd.DataFrame

    @property
    def corrupts(self) -> bool:
        """Whether it was meant to corrupt samples, or did."""
        return self.requested > 0 or self.realised > 0


@dataclass(frozen=True, eq=False)
class ScenarioEffect:
    """The effect of a scenario.

    Attributes:
        steps: the effect of each step.
        per_class: a row per class: samples before; kept, by published label; shown under this label, and of these the clean,
            corrupted and foreign ones; group and third by the number of samples kept.
        transitions: the data set's own samples by published and shown label: (K, K) counts.
        known: own samples shown whose true label is known; None if none is, or if all were published under it.
        wrong: of these, samples that are shown under another label.
        digest: of the view after the scenario.
    """

    steps: tuple[StepEffect, ...]
    per_class: pd.DataFrame
    transitions: Labels
    known: int | None
    wrong: int
    digest: str

    @property
    def shares(self) -> NDArray[np.float64]:
        """Share of each published class that is shown as each class: (K, K); NaN for a class without samples."""
        total = self.transitions.sum(axis=1, keepdims=True)
        shares = np.full(self.transitions.shape, np.nan)
        np.divide(self.transitions, total, out=shares, where=total > 0)
        return shares


def apply_steps(scenario: Scenario, view: View) -> list[View]:
    """Return the view, and the view after each step."""
    views = [view]
    for step in scenario:
        views.append(step(views[-1]))
    return views


def measure_scenario(steps: Sequence[Scenario], views: Sequence[View]) -> ScenarioEffect:
    """Measure the effect of a scenario.

    Args:
        views: before the first step, and after each step.
    """
    before, after = views[0], views[-1]
    classes, published, own = len(before.classes), after.published_labels, ~after.foreign
    transitions = np.zeros((classes, classes), np.int64)
    np.add.at(transitions, (published[own], after.labels[own]), 1)
    kept, foreign = published_counts(after), np.bincount(after.labels[after.foreign], minlength=classes)
    clean = np.diag(transitions)
    per_class = pd.DataFrame(
        {
            "before": before.counts,
            "kept": kept,
            "shown": after.counts,
            "clean": clean,
            "corrupted": transitions.sum(axis=0) - clean,
            "foreign": foreign,
            "group": many_medium_few(kept),
            "third": thirds(kept),
        },
        index=pd.Index(before.classes, name="class"),
    )
    known, wrong, truth = None, 0, after.truth
    if truth is not None and not np.array_equal(truth[own], published[own]):
        known, wrong = int((truth >= 0).sum()), int(after.corrupted.sum())
    effects = tuple(measure_step(step, *pair) for step, *pair in zip(steps, views[:-1], views[1:], strict=True))
    return ScenarioEffect(effects, per_class, transitions, known, wrong, after.digest)


def measure_step(step: Scenario, before: View, after: View) -> StepEffect:
    """Measure the effect of a step. A sample is corrupted if its label changed, or if a foreign image replaced it."""
    row = match_samples(before, after)
    matched = row >= 0
    label = after.labels.copy()  # a new sample counts under the label that it has
    label[matched] = before.labels[row[matched]]
    corrupted = (label != after.labels) | ~matched
    corrupted[matched] |= after.sample_ids[matched] != before.sample_ids[row[matched]]
    size = np.bincount(label, minlength=len(before.classes))
    requested = step.corruption_rates(before)
    realised = np.full(len(size), np.nan)
    np.divide(np.bincount(label[corrupted], minlength=len(size)), size, out=realised, where=size > 0)
    return StepEffect(
        str(step),
        len(before),
        len(after),
        int(after.foreign.sum()),
        float(requested @ before.counts) / max(1, len(before)),
        float(corrupted.mean()) if len(after) else 0.0,
        pd.DataFrame(
            {"requested": np.where(before.counts > 0, requested, np.nan), "realised": realised}, index=before.classes
        ),
    )


def match_samples(before: View, after: View) -> Labels:
    """Return the row before the step of each sample after it, or of the sample it replaced; -1 if unknown: (n,)."""
    ids_before, ids_after = before.sample_ids, after.sample_ids
    if len(ids_before) == len(ids_after) and ((ids_before == ids_after) | after.foreign).all():
        return np.arange(len(ids_after))  # the order is unchanged, also where one foreign image is shown several times
    ids, first = np.unique(ids_before, return_index=True)
    row: Labels = np.append(first, -1)[pd.Index(ids).get_indexer(pd.Index(ids_after))]
    return row


def corrupted_samples(view: View, limit: int) -> list[tuple[NDArray[np.uint8], str, str]]:
    """Select corrupted samples by their keys: image (C, H, W), published label or "foreign", label shown."""
    corrupted = np.flatnonzero(view.published_labels != view.labels)
    # A foreign image that is shown several times has one key, and is selected once.
    corrupted = corrupted[np.unique(view.sample_ids[corrupted], return_index=True)[1]]
    selected = view.take(corrupted[np.argsort(view.keys("sheet")[corrupted], kind="stable")[:limit]])
    names = np.array([*view.classes, "foreign"], dtype=object)  # label -1 of a foreign image is the last entry
    return list(zip(selected.images(), names[selected.published_labels], names[selected.labels], strict=True))
