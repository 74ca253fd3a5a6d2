"""Findings of an audit: cleaned splits, and the files of rows."""

import numpy as np
import pytest

from pipelines.auditing.findings import AuditedRows, AuditFindings, clean_splits, file_names
from robustkd.data.view import Source, View
from robustkd.label_audit import confident_learning


@pytest.mark.parametrize("relabel", [False, True])
def test_a_class_keeps_training_rows_and_held_out_rows_in_proportion(relabel: bool) -> None:
    # Class 0: all training rows are suspicious, no held-out row is. Class 1: only held-out rows are suspicious.
    labels = np.repeat([0, 1, 0, 1], [12, 28, 8, 12])
    wrong, held_out = np.repeat([True, False, False, True], [12, 28, 8, 12]), np.arange(60) >= 40
    source = Source("rows", np.zeros((60, 1, 8, 8), np.uint8), labels, ("a", "b"))
    verdict = confident_learning.LabelIssues(wrong, 1 - labels, np.linspace(0, 0.4, 60), np.zeros((2, 2)))
    view = View.of(source)
    train = AuditedRows("train", view, np.zeros((60, 2), np.float32), verdict)
    test = AuditedRows("test", view.take(view.rows < 0), train.probabilities[:0], verdict)
    cleaned = clean_splits(AuditFindings(source, train, held_out, test, [], 0.0), keep=5, relabel=relabel)
    views = cleaned.splits
    assert views.train.counts.tolist() == ([5, 35] if relabel else [5, 28])
    assert views.held_out.counts.tolist() == ([17, 3] if relabel else [8, 3])  # 5 of 40 are 3 of 20
    assert (cleaned.changed, cleaned.kept) == (7 + 9, 5 + 3)


def test_file_names_are_those_of_each_rows_source() -> None:
    images = np.zeros((4, 1, 8, 8), np.uint8)
    lender = Source("folder:there", images, np.zeros(4, int), ("x",), files=("0", "1", "2", "3"))
    own = Source("folder:here", images, np.zeros(4, int), ("a",), files=("a", "b", "c", "d"))
    view = View((own, lender), np.array([2, 2, 6, 11]), np.zeros(4, int), origin=np.array([0, 1, 1, 1]))
    assert file_names(view) == ["c", "2", "2", "3"]
