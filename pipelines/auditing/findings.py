"""What an audit finds: label issues of the training and test rows, and the splits without them."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.report.contact_sheet import Suspect
from robustkd.data.manifest import Splits
from robustkd.data.view import Labels, Source, View
from robustkd.label_audit.confident_learning import DetectionScores, LabelIssues, score_detection, select_removable
from robustkd.label_audit.out_of_fold import ClassProbabilities
from robustkd.label_audit.reliability import Reliability, assess_reliability


@dataclass(frozen=True)
class AuditedRows:
    """Audited rows with their out-of-fold probabilities and label issues.

    Attributes:
        part: as a manifest calls it: train or test.
        probabilities: (n, K); NaN in rows without a prediction.
    """

    part: str
    view: View
    probabilities: ClassProbabilities
    issues: LabelIssues

    @property
    def detection(self) -> DetectionScores | None:
        """The label issues compared with the true labels, None where these are unknown."""
        return score_detection(self.issues.is_issue, self.view.labels, self.view.truth)

    @property
    def agreement(self) -> float:
        """The share of labels that the networks predict, among the rows with a prediction."""
        predicted = np.isfinite(self.probabilities).all(axis=1)
        return float((self.probabilities[predicted].argmax(axis=1) == self.view.labels[predicted]).mean())

    @property
    def reliability(self) -> Reliability:
        """What the estimate of the assessed rows rests on."""
        assessed = ~np.isnan(self.issues.quality)
        return assess_reliability(self.view.labels[assessed], self.probabilities[assessed], self.issues.noise_rate)

    @property
    def issue_count(self) -> int:
        """The number of label issues."""
        return int(self.issues.is_issue.sum())

    def probabilities_of(self, rows: Labels, labels: Labels) -> NDArray[np.float32]:
        """Return the probabilities of these rows' labels: (m,), (n,) -> (m,)."""
        return self.probabilities[rows, labels[rows]]

    def list_suspects(self, limit: int) -> list[Suspect]:
        """Return the images with label issues, worst first, at most `limit`."""
        view, names, rows = self.view, np.array(self.view.classes), self.issues.rank_rows()[:limit]
        sources = np.zeros_like(rows) if view.origin is None else view.origin[rows]
        columns = (
            view.source_rows[rows],
            names[view.labels[rows]],
            names[self.issues.suggested[rows]],
            self.probabilities_of(rows, view.labels),
            self.probabilities_of(rows, self.issues.suggested),
        )
        values = zip(*(column.tolist() for column in columns), strict=True)
        return [Suspect(view.sources[number], *row) for number, row in zip(sources, values, strict=True)]

    def suspect_table(self) -> pd.DataFrame:
        """Return the rows of suspects.csv, worst first."""
        view, names, rows = self.view, np.array(self.view.classes), self.issues.rank_rows()
        columns = {
            "rank": np.arange(1, len(rows) + 1),
            "part": self.part,
            "row": view.source_rows[rows],
            "file": file_names(view.take(rows)),
            "given": names[view.labels[rows]],
            "suggested": names[self.issues.suggested[rows]],
            "given_probability": self.probabilities_of(rows, view.labels),
            "suggested_probability": self.probabilities_of(rows, self.issues.suggested),
            "quality": self.issues.quality[rows],
        }
        if view.origin is not None:
            columns["source"] = np.array([source.name for source in view.sources])[view.origin[rows]]
        return pd.DataFrame(columns)

    def class_table(self) -> pd.DataFrame:
        """Return the rows of classes.csv: labels given, estimated noise rate, label issues and estimated true size."""
        issues, counts = self.issues, self.view.counts
        assessed = issues.joint.sum(axis=0).round().astype(np.int64)
        return pd.DataFrame(
            {
                "given": counts,
                "judged": assessed,
                "estimated_noise_rate": issues.noise_rates,
                "suspicious": np.bincount(self.view.labels[issues.is_issue], minlength=len(counts)),
                # Labels that could not be assessed count as correct.
                "estimated_true": issues.joint.sum(axis=1).round().astype(np.int64) + counts - assessed,
            },
            index=pd.Index(self.view.classes, name="class"),
        )


def file_names(view: View) -> list[str]:
    """Return the file of each row, an empty string for arrays: (n,)."""
    sources = np.zeros(len(view), np.int64) if view.origin is None else view.origin
    return [
        files[row] if (files := view.sources[number].files) else ""
        for number, row in zip(sources.tolist(), view.source_rows.tolist(), strict=True)
    ]


@dataclass(frozen=True)
class AuditFindings:
    """All findings of an audit.

    Attributes:
        train: the rows that a study trains on or holds out.
        held_out: (n,) which of them it holds out.
        notes: about classes that could not be distributed over all folds.
        seconds: time of all folds, including those that were trained earlier.
    """

    source: Source
    train: AuditedRows
    held_out: NDArray[np.bool_]
    test: AuditedRows
    notes: list[str]
    seconds: float

    @property
    def parts(self) -> tuple[AuditedRows, AuditedRows]:
        """Training and test rows."""
        return self.train, self.test

    def may_be_changed(self, force: bool) -> bool:
        """Whether suspicious labels may be changed unseen: the estimate can be believed, or the user insists."""
        return force or self.train.reliability.is_believable


@dataclass(frozen=True)
class CleanedSplits:
    """Splits of a study after label issues were dropped or relabelled.

    Attributes:
        changed: number of dropped or relabelled rows.
        kept: number of label issues that stay, because their class would become too small.
    """

    splits: Splits
    changed: int
    kept: int


def clean_splits(findings: AuditFindings, keep: int, *, relabel: bool) -> CleanedSplits:
    """Drop or relabel label issues such that each class keeps `keep` training rows, and held-out rows in proportion."""
    issues, view = findings.train.issues, findings.train.view
    training, held_out = ~findings.held_out, findings.held_out
    keep_held_out = math.ceil(keep * held_out.sum() / max(1, training.sum()))
    changed = select_removable(issues, view.labels, keep, training)
    changed |= select_removable(issues, view.labels, keep_held_out, held_out)
    view = view.relabel(np.where(changed, issues.suggested, view.labels)) if relabel else view
    stays = np.ones_like(changed) if relabel else ~changed
    train_view, held_out_view = (view.take(stays & mask) for mask in (training, held_out))
    splits = Splits(train_view, held_out_view, findings.test.view)
    return CleanedSplits(splits, int(changed.sum()), int((issues.is_issue & ~changed).sum()))


def fold_notes(view: View, fold: Labels, alone: NDArray[np.bool_], count: int) -> list[str]:
    """Return notes about classes that could not be distributed over all folds.

    Args:
        fold: the fold of each row: (n,).
        alone: rows whose class is in one fold only: (n,).
        count: number of folds.
    """
    notes = []
    for label, (name, size) in enumerate(zip(view.classes, view.counts, strict=True)):
        rows = view.labels == label
        folds = len(np.unique(fold[rows]))
        if (alone & rows).any():
            notes.append(f"class '{name}' ({size} samples) is in one fold only: its labels cannot be audited")
        elif 0 < folds < count:
            notes.append(f"class '{name}' ({size} samples) is in {folds} of the {count} folds: its estimates are rough")
    return notes
