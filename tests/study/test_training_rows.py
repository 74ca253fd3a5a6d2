"""The rows and labels that controls are trained on."""

from dataclasses import replace

import numpy as np
import pytest

import scenarios
from robustkd.data.view import View
from robustkd.errors import UsageError
from robustkd.study.training_rows import select_training_rows
from tests.helpers import make_source


def noisy_view(scenario: str = "noise0.4") -> View:
    return scenarios.parse(scenario)(View.of(make_source(20)))


def test_labels_as_given_are_the_view_itself() -> None:
    view = noisy_view()
    assert select_training_rows(view, "given", "hinton") is view


def test_true_labels_are_shown_for_every_row() -> None:
    view = noisy_view()
    assert view.corrupted.any()
    selected = select_training_rows(view, "true", "oracle_clean")
    assert np.array_equal(selected.labels, view.published_labels)
    assert np.array_equal(selected.rows, view.rows)


def test_untouched_rows_are_those_whose_label_is_true() -> None:
    view = noisy_view()
    selected = select_training_rows(view, "untouched", "oracle_subset")
    assert len(selected) == len(view) - view.corrupted.sum() < len(view)
    assert not selected.corrupted.any()
    assert {*selected.rows} == {*view.rows[~view.corrupted]}


def test_images_of_other_data_sets_have_no_true_label() -> None:
    view, other = View.of(make_source(4)), make_source(1)
    both = replace(
        view,
        sources=(*view.sources, other),
        rows=np.concatenate([view.rows, np.arange(3)]),
        labels=np.concatenate([view.labels, other.labels]),
        origin=np.repeat([0, 1], [12, 3]),
    )
    for labels in ("true", "untouched"):
        assert len(select_training_rows(both, labels, "oracle_clean")) == 12


def test_unknown_true_labels_are_refused() -> None:
    source = make_source(4)
    nothing = View.of(replace(source, truth=None))
    with pytest.raises(
        UsageError, match="'oracle_clean' trains by the true labels, and those of 12 of 12 training rows"
    ):
        select_training_rows(nothing, "true", "oracle_clean")
    truth = source.labels.copy()
    truth[:3] = -1
    with pytest.raises(UsageError, match="those of 3 of 12 training rows are not known"):
        select_training_rows(View.of(replace(source, truth=truth)), "untouched", "oracle_subset")


def test_a_class_without_rows_is_refused() -> None:
    source = make_source(4)
    view = View.of(source)
    shown = view.relabel(np.roll(view.labels, 1))  # no label is right
    shown = shown.relabel(np.where(np.arange(12) % 3 == 0, view.labels, shown.labels))  # but those of one class
    with pytest.raises(UsageError, match=f"without a training row of class '{source.classes[1]}'"):
        select_training_rows(shown, "untouched", "oracle_subset")
