"""Folds and what nets say of them: nobody is judged by a net that has seen them, and nothing is trained twice."""

import time
from dataclasses import replace

import numpy as np
import pytest
from helpers import make_source

from robustkd.data.loader import Loader
from robustkd.data.normalisation import channel_mean_std
from robustkd.data.view import Source, View
from robustkd.errors import ExecutionError, UsageError
from robustkd.label_audit import confident_learning, out_of_fold
from robustkd.label_audit.out_of_fold import TrainingConfig, assign_folds, out_of_fold_probabilities, unseen_class_mask
from robustkd.training import engine
from robustkd.training.recipe import Recipe

TRAINER = TrainingConfig("resnet8", Recipe(epochs=1, lr=0.03), batch=12)


def many(labels, groups=None) -> View:
    """Rows of no particular look."""
    labels = np.array(labels)
    images, names = np.zeros((len(labels), 1, 8, 8), np.uint8), tuple("abcdefgh"[: labels.max() + 1])
    return View.of(Source("rows", images, labels, names, groups=None if groups is None else np.array(groups)))


def quiet(event):
    """Nobody reads along."""


class Watched:
    """Counts trainings, and keeps the rows each of them saw."""

    def __init__(self, patch):
        self.rows, fit = [], engine.fit

        def watched(method, loader, recipe, **options):
            self.rows.append(loader.view.rows)
            return fit(method, loader, recipe, **options)

        patch.setattr(engine, "fit", watched)


@pytest.fixture
def watched(monkeypatch):
    return Watched(monkeypatch)


@pytest.fixture
def split():
    """Training rows and test rows of one source."""
    shown = make_source(12)
    rows = np.arange(36)
    return View.of(shown, rows[rows % 4 > 0]), View.of(shown, rows[rows % 4 == 0])


def test_every_class_is_spread_evenly():
    view = many([0] * 23 + [1] * 40 + [2] * 7)
    fold = assign_folds(view, 5, seed=1)
    for number in range(3):
        sizes = np.bincount(fold[view.labels == number], minlength=5)
        assert sizes.max() - sizes.min() <= 1
    sizes = np.bincount(fold)
    assert sizes.max() - sizes.min() <= 3


def test_a_row_keeps_its_fold_whatever_the_order_and_changes_it_with_the_seed():
    view = many([0, 1, 2] * 20)
    order = np.random.default_rng(0).permutation(60)
    fold = assign_folds(view, 4, seed=1)
    turned = assign_folds(view.take(order), 4, seed=1)
    assert [set(order[turned == f]) for f in range(4)] == [set(np.flatnonzero(fold == f)) for f in range(4)]
    assert (fold != assign_folds(view, 4, seed=2)).any()


def test_no_fold_divides_a_group():
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 4)
    view = many(np.repeat(random.integers(0, 3, 30), 4), groups)
    fold = assign_folds(view, 5, seed=0)
    assert all(len(set(fold[groups == group])) == 1 for group in range(30))
    assert len(set(fold)) == 5
    assert (fold != assign_folds(view, 5, seed=3)).any()


@pytest.mark.parametrize("count", [5, 25])
def test_many_groups_of_one_row_take_no_time(count):
    random = np.random.default_rng(0)
    labels = random.choice(3, 20_000, p=[0.9, 0.09, 0.01])
    groups = np.where(random.random(20_000) < 0.9, random.permutation(20_000), -random.integers(1, 300, 20_000))
    view, start = many(labels, groups - groups.min()), time.process_time()
    fold = assign_folds(view, count, seed=0)
    assert time.process_time() - start < 4  # several times that, were each row dealt by itself to 25 folds
    _, group = np.unique(groups, return_inverse=True)
    assert (fold == fold[np.unique(group, return_index=True)[1]][group]).all()
    for number in range(3):
        sizes = np.bincount(fold[labels == number], minlength=count)
        assert sizes.min() > 0
        assert sizes.max() <= 1.3 * sizes.mean() + 2
    order = random.permutation(20_000)
    turned = assign_folds(view.take(order), count, seed=0)
    assert (turned == fold[order]).all()


def test_nets_are_normalised_by_all_that_is_shown(split, monkeypatch, tmp_path):
    view, test = split
    foreign = replace(view, sources=(*view.sources, make_source(40)), origin=np.ones_like(view.rows))
    network, seen = out_of_fold.build_fold_network, []
    monkeypatch.setattr(out_of_fold, "build_fold_network", lambda *of: seen.append(of[3]) or network(*of))
    out_of_fold_probabilities(foreign, assign_folds(foreign, 2, seed=0), test, TRAINER, tmp_path, quiet)
    assert seen == [channel_mean_std(foreign)] * 2


def test_rows_of_no_group_are_no_group():
    fold = assign_folds(many([0, 1] * 20, [-1] * 40), 5, seed=0)
    assert np.bincount(fold).tolist() == [8] * 5


def test_a_class_smaller_than_the_folds_goes_as_far_as_it_goes():
    view = many([0] * 20 + [1] * 3 + [2])
    fold = assign_folds(view, 5, seed=0)
    assert len(set(fold[view.labels == 1])) == 3
    alone = unseen_class_mask(view.labels, fold, 3)
    assert np.flatnonzero(alone).tolist() == [23]  # no other fold can teach a net what class 2 is


def test_a_class_in_one_group_cannot_be_judged():
    view = many([0] * 10 + [1] * 5, [*range(10), *[10] * 5])
    assert np.flatnonzero(unseen_class_mask(view.labels, assign_folds(view, 3, seed=0), 2)).tolist() == list(
        range(10, 15)
    )


def test_more_folds_than_there_is_anything_of():
    with pytest.raises(UsageError, match="--folds 5: no class has more than 4 samples to train on, so 4 is the most"):
        assign_folds(many([0, 1] * 4), 5, seed=0)
    with pytest.raises(UsageError, match="--folds 5: there are 3 groups to train on, and no group is divided"):
        assign_folds(many([0, 1] * 9, [0, 1, 2] * 6), 5, seed=0)


def test_no_net_judges_what_it_was_trained_on_and_none_sees_the_test_rows(split, watched, tmp_path):
    view, test = split
    fold = assign_folds(view, 3, seed=0)
    own, other = out_of_fold_probabilities(view, fold, test, TRAINER, tmp_path, quiet)
    assert own.shape == (len(view), 3)
    assert other.shape == (len(test), 3)
    assert own.dtype == other.dtype == np.float32
    assert np.allclose(own.sum(axis=1), 1, atol=1e-5)
    assert np.allclose(other.sum(axis=1), 1, atol=1e-5)
    assert len(watched.rows) == 3
    for which, seen in enumerate(watched.rows):
        assert set(seen) == set(view.rows[fold != which])
        assert not set(seen) & set(test.rows)


def test_a_fold_that_is_there_is_used_again(split, watched, tmp_path):
    view, test = split
    fold, events = assign_folds(view, 3, seed=0), []
    first = out_of_fold_probabilities(view, fold, test, TRAINER, tmp_path, events.append)
    again = out_of_fold_probabilities(view, fold, test, TRAINER, tmp_path, events.append)
    assert len(watched.rows) == 3
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    ended = [event for event in events if event.agreement is not None]
    assert [event.reused for event in ended] == [False] * 3 + [True] * 3
    assert [event.seconds for event in ended[:3]] == [event.seconds for event in ended[3:]]


def test_an_interrupted_audit_goes_on(split, watched, tmp_path):
    view, test = split
    fold = assign_folds(view, 3, seed=0)

    def stop(event):
        if event.fold == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        out_of_fold_probabilities(view, fold, test, TRAINER, tmp_path, stop)
    (tmp_path / "fold-1.npz").write_bytes(b"PK\x03\x04 cut short")  # and the power failed
    resumed = out_of_fold_probabilities(view, fold, test, TRAINER, tmp_path, quiet)
    assert [set(rows) == set(view.rows[fold != which]) for rows, which in zip(watched.rows, (0, 1, 1, 2), strict=True)]
    assert len(watched.rows) == 4
    (tmp_path / "whole").mkdir()
    whole = out_of_fold_probabilities(view, fold, test, TRAINER, tmp_path / "whole", quiet)
    assert all((a == b).all() for a, b in zip(resumed, whole, strict=True))


def test_there_may_be_no_test_rows(split, tmp_path):
    view, test = split
    _, other = out_of_fold_probabilities(
        view, assign_folds(view, 2, seed=0), test.take(test.rows < 0), TRAINER, tmp_path, quiet
    )
    assert other.shape == (0, 3)


def test_what_is_large_stays_where_it_is_mapped(split, tmp_path, monkeypatch):
    view, test = split
    resident = []

    class Seen(Loader):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            resident.append(self.resident is not None)

    monkeypatch.setattr(out_of_fold, "Loader", Seen)
    (tmp_path / "mapped").mkdir()
    small = out_of_fold_probabilities(view, assign_folds(view, 2, seed=0), test, TRAINER, tmp_path, quiet)
    monkeypatch.setattr(out_of_fold, "RESIDENT_BYTES", 0)
    large = out_of_fold_probabilities(view, assign_folds(view, 2, seed=0), test, TRAINER, tmp_path / "mapped", quiet)
    assert resident == [True] * 6 + [False] * 6  # to be trained on, to be judged, and the test rows, twice each
    assert all((a == b).all() for a, b in zip(small, large, strict=True))


def test_training_that_diverges_is_said(split, tmp_path):
    view, test = split
    wild = replace(TRAINER, recipe=Recipe(epochs=3, lr=1e30))
    with pytest.raises(ExecutionError, match=r"fold 1: the term 'ce' is .* a smaller --lr or a --warmup may help"):
        out_of_fold_probabilities(view, assign_folds(view, 2, seed=0), test, wild, tmp_path, quiet)


def test_wrong_labels_of_toys_are_found(tmp_path):
    view = View.of(make_source(30))
    labels = view.labels.copy()
    labels[::10] = (labels[::10] + 1) % 3
    shown, trainer = view.relabel(labels), replace(TRAINER, recipe=Recipe(epochs=6, lr=0.05))
    own, _ = out_of_fold_probabilities(
        shown, assign_folds(shown, 3, seed=0), view.take(view.rows < 0), trainer, tmp_path, quiet
    )
    found = confident_learning.score_detection(
        confident_learning.find_label_issues(labels, own).is_issue, labels, view.truth
    )
    assert found.errors == 9
    assert found.true_positives >= 7
    assert found.flagged <= 11
