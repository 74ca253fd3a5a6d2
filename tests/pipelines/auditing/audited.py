"""Findings of an audit in which the first rows are suspicious, made without training."""

import numpy as np

from pipelines.auditing.findings import AuditedRows, AuditFindings
from robustkd.data.view import Source, View
from robustkd.label_audit.confident_learning import LabelIssues

NAMES = ("[red]a[/red]", "b")


def make_findings(
    wrong: int = 3, test_wrong: int = 0, truth: bool = False, published: bool = False, all_correct: bool = False
) -> AuditFindings:
    """Return the findings of 20 training rows, the last 5 of which are held out, and 10 test rows.

    Args:
        wrong, test_wrong: number of suspicious rows of each part; the networks predict the other class of these.
        truth: whether the true labels are known, and the suspicious rows are the wrong ones.
        all_correct: whether, however, the true labels are those given.
        published: whether a scenario gave the suspicious training rows their labels.
    """
    labels = np.arange(30) % 2
    suspicious = np.concatenate([np.arange(20) < wrong, np.arange(10) < test_wrong])
    corrected = np.where(suspicious, 1 - labels, labels)
    true_labels = (labels if all_correct else corrected) if truth else None
    images = np.zeros((30, 1, 8, 8), np.uint8)
    source = Source("rows", images, corrected if published else labels, NAMES, truth=true_labels)
    view = View.of(source).relabel(labels)
    train, test = view.take(np.arange(30) < 20), view.take(np.arange(30) >= 20)
    return AuditFindings(
        source,
        audited_rows("train", train, suspicious[:20]),
        np.arange(20) >= 15,
        audited_rows("test", test, suspicious[20:]),
        ["a note"],
        12.34,
    )


def audited_rows(part: str, view: View, suspicious: np.ndarray) -> AuditedRows:
    """Return rows whose suspicious labels the networks do not predict, with probability 0.9."""
    predicted = np.where(suspicious, 1 - view.labels, view.labels)
    probabilities = np.where(np.eye(2, dtype=bool)[predicted], 0.9, 0.1).astype(np.float32)
    joint = np.zeros((2, 2))
    np.add.at(joint, (predicted, view.labels), 1)
    issues = LabelIssues(suspicious, 1 - view.labels, np.where(suspicious, 0.1, 0.9), joint)
    return AuditedRows(part, view, probabilities, issues)
