"""Folds and out-of-fold predictions: no net predicts a row it was trained on, and no fold is trained twice."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from robustkd.data.loader import Loader
from robustkd.data.normalisation import channel_mean_std
from robustkd.data.view import Source, View
from robustkd.errors import ExecutionError, UsageError
from robustkd.label_audit import confident_learning, out_of_fold
from robustkd.label_audit.out_of_fold import TrainingConfig, assign_folds, out_of_fold_probabilities, unseen_class_mask
from robustkd.training import engine
from robustkd.training.recipe import Recipe
from tests.helpers import make_source

CONFIG = TrainingConfig("resnet8", Recipe(epochs=1, lr=0.03), batch=12)


def blank_view(labels, groups=None) -> View:
    """Return blank images under these labels."""
    labels = np.array(labels)
    images, names = np.zeros((len(labels), 1, 8, 8), np.uint8), tuple("abcdefgh"[: labels.max() + 1])
    return View.of(Source("rows", images, labels, names, groups=None if groups is None else np.array(groups)))


def ignore_progress(event):
    """Discard progress events."""


class FitRecorder:
    """Records the rows of each training."""

    def __init__(self, patch):
        self.rows, fit = [], engine.fit

        def recorded_fit(method, loader, recipe, **options):
            self.rows.append(loader.view.rows)
            return fit(method, loader, recipe, **options)

        patch.setattr(engine, "fit", recorded_fit)


@pytest.fixture
def recorder(monkeypatch):
    return FitRecorder(monkeypatch)


@pytest.fixture
def split():
    """Return training rows and test rows of one source."""
    shown = make_source(12)
    rows = np.arange(36)
    return View.of(shown, rows[rows % 4 > 0]), View.of(shown, rows[rows % 4 == 0])


def test_every_class_is_spread_evenly():
    view = blank_view([0] * 23 + [1] * 40 + [2] * 7)
    fold = assign_folds(view, 5, seed=1)
    for number in range(3):
        sizes = np.bincount(fold[view.labels == number], minlength=5)
        assert sizes.max() - sizes.min() <= 1
    sizes = np.bincount(fold)
    assert sizes.max() - sizes.min() <= 3


def test_folds_depend_on_the_seed_but_not_on_the_order_of_rows():
    view = blank_view([0, 1, 2] * 20)
    order = np.random.default_rng(0).permutation(60)
    fold = assign_folds(view, 4, seed=1)
    permuted = assign_folds(view.take(order), 4, seed=1)
    assert [set(order[permuted == f]) for f in range(4)] == [set(np.flatnonzero(fold == f)) for f in range(4)]
    assert (fold != assign_folds(view, 4, seed=2)).any()


def test_no_fold_divides_a_group():
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 4)
    view = blank_view(np.repeat(random.integers(0, 3, 30), 4), groups)
    fold = assign_folds(view, 5, seed=0)
    assert all(len(set(fold[groups == group])) == 1 for group in range(30))
    assert len(set(fold)) == 5
    assert (fold != assign_folds(view, 5, seed=3)).any()


@pytest.mark.parametrize("count", [5, 25])
def test_many_singleton_groups_are_merged_before_they_are_split(monkeypatch, count):
    random = np.random.default_rng(0)
    labels = random.choice(3, 20_000, p=[0.9, 0.09, 0.01])
    groups = np.where(random.random(20_000) < 0.9, random.permutation(20_000), -random.integers(1, 300, 20_000))
    split, seen = StratifiedGroupKFold.split, []  # scikit-learn assigns one group at a time, by a loop in Python

    def count_groups(self, x, y, groups):
        seen.append(len(np.unique(groups)))
        return split(self, x, y, groups)

    monkeypatch.setattr(StratifiedGroupKFold, "split", count_groups)
    view = blank_view(labels, groups - groups.min())
    fold = assign_folds(view, count, seed=0)
    assert len(seen) == 1
    assert seen[0] < 2500, "299 groups of several rows, and about 2,000 of the 18,000 others"
    _, group = np.unique(groups, return_inverse=True)
    assert (fold == fold[np.unique(group, return_index=True)[1]][group]).all()
    for number in range(3):
        sizes = np.bincount(fold[labels == number], minlength=count)
        assert sizes.min() > 0
        assert sizes.max() <= 1.3 * sizes.mean() + 2
    order = random.permutation(20_000)
    permuted = assign_folds(view.take(order), count, seed=0)
    assert (permuted == fold[order]).all()


def test_nets_are_normalised_by_all_shown_rows(split, monkeypatch, tmp_path):
    view, test = split
    foreign = replace(view, sources=(*view.sources, make_source(40)), origin=np.ones_like(view.rows))
    network, seen = out_of_fold.build_fold_network, []
    monkeypatch.setattr(out_of_fold, "build_fold_network", lambda *of: seen.append(of[3]) or network(*of))
    out_of_fold_probabilities(foreign, assign_folds(foreign, 2, seed=0), test, CONFIG, tmp_path, ignore_progress)
    assert seen == [channel_mean_std(foreign)] * 2


def test_identical_images_are_in_one_fold():
    images = np.tile(np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8), dtype=np.uint8), (3, 1, 1, 1))
    view = View.of(Source("rows", images, np.tile(np.arange(40) % 2, 3), ("a", "b")))
    fold = assign_folds(view, 5, seed=0)
    assert (fold.reshape(3, 40) == fold[:40]).all()
    assert sorted(np.bincount(fold)) == [24] * 5


def test_repetitions_of_a_foreign_image_are_in_one_fold():
    own = blank_view(np.arange(40) % 2)
    images = np.random.default_rng(0).integers(0, 256, (10, 1, 8, 8), dtype=np.uint8)
    lender = Source("foreign", images, np.zeros(10, np.int64), ("a", "b"))
    view = replace(own, sources=(*own.sources, lender), origin=np.repeat([0, 1], 20))
    fold = assign_folds(view, 4, seed=0)
    assert len({*zip(view.source_rows[20:].tolist(), fold[20:].tolist(), strict=True)}) == 10


def test_rows_without_a_group_do_not_form_a_group():
    fold = assign_folds(blank_view([0, 1] * 20, [-1] * 40), 5, seed=0)
    assert np.bincount(fold).tolist() == [8] * 5


def test_a_class_smaller_than_the_folds_is_spread_over_as_many_as_it_has_samples():
    view = blank_view([0] * 20 + [1] * 3 + [2])
    fold = assign_folds(view, 5, seed=0)
    assert len(set(fold[view.labels == 1])) == 3
    unseen = unseen_class_mask(view.labels, fold, 3)
    assert np.flatnonzero(unseen).tolist() == [23]  # class 2 is in no other fold


def test_a_class_in_one_group_is_unseen():
    view = blank_view([0] * 10 + [1] * 5, [*range(10), *[10] * 5])
    assert np.flatnonzero(unseen_class_mask(view.labels, assign_folds(view, 3, seed=0), 2)).tolist() == list(
        range(10, 15)
    )


def test_more_folds_than_samples_or_groups_are_rejected():
    with pytest.raises(
        UsageError, match="--folds 5: should be at most 4, the number of training samples of the largest class"
    ):
        assign_folds(blank_view([0, 1] * 4), 5, seed=0)
    with pytest.raises(
        UsageError, match="--folds 5: should be at most 3, the number of training groups, which are never divided"
    ):
        assign_folds(blank_view([0, 1] * 9, [0, 1, 2] * 6), 5, seed=0)


def test_no_net_predicts_its_training_rows_or_trains_on_test_rows(split, recorder, tmp_path):
    view, test = split
    fold = assign_folds(view, 3, seed=0)
    own, other = out_of_fold_probabilities(view, fold, test, CONFIG, tmp_path, ignore_progress)
    assert own.shape == (len(view), 3)
    assert other.shape == (len(test), 3)
    assert own.dtype == other.dtype == np.float32
    assert np.allclose(own.sum(axis=1), 1, atol=1e-5)
    assert np.allclose(other.sum(axis=1), 1, atol=1e-5)
    assert len(recorder.rows) == 3
    for which, rows in enumerate(recorder.rows):
        assert set(rows) == set(view.rows[fold != which])
        assert not set(rows) & set(test.rows)


def test_a_saved_fold_is_reused(split, recorder, tmp_path):
    view, test = split
    fold, events = assign_folds(view, 3, seed=0), []
    first = out_of_fold_probabilities(view, fold, test, CONFIG, tmp_path, events.append)
    again = out_of_fold_probabilities(view, fold, test, CONFIG, tmp_path, events.append)
    assert len(recorder.rows) == 3
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    ended = [event for event in events if event.agreement is not None]
    assert [event.reused for event in ended] == [False] * 3 + [True] * 3
    assert [event.seconds for event in ended[:3]] == [event.seconds for event in ended[3:]]


def test_an_interrupted_audit_resumes(split, recorder, tmp_path):
    view, test = split
    fold = assign_folds(view, 3, seed=0)

    def stop(event):
        if event.fold == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        out_of_fold_probabilities(view, fold, test, CONFIG, tmp_path, stop)
    (tmp_path / "fold-1.npz").write_bytes(b"PK\x03\x04 cut short")  # a damaged file
    resumed = out_of_fold_probabilities(view, fold, test, CONFIG, tmp_path, ignore_progress)
    assert [set(rows) == set(view.rows[fold != which]) for rows, which in zip(recorder.rows, (0, 1, 1, 2), strict=True)]
    assert len(recorder.rows) == 4
    (tmp_path / "whole").mkdir()
    whole = out_of_fold_probabilities(view, fold, test, CONFIG, tmp_path / "whole", ignore_progress)
    assert all((a == b).all() for a, b in zip(resumed, whole, strict=True))


def test_test_rows_may_be_empty(split, tmp_path):
    view, test = split
    _, other = out_of_fold_probabilities(
        view, assign_folds(view, 2, seed=0), test.take(test.rows < 0), CONFIG, tmp_path, ignore_progress
    )
    assert other.shape == (0, 3)


def test_a_large_data_set_stays_memory_mapped(split, tmp_path, monkeypatch):
    view, test = split
    resident = []

    class RecordingLoader(Loader):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            resident.append(self.resident is not None)

    monkeypatch.setattr(out_of_fold, "Loader", RecordingLoader)
    (tmp_path / "mapped").mkdir()
    small = out_of_fold_probabilities(view, assign_folds(view, 2, seed=0), test, CONFIG, tmp_path, ignore_progress)
    monkeypatch.setattr(out_of_fold, "RESIDENT_BYTES", 0)
    large = out_of_fold_probabilities(
        view, assign_folds(view, 2, seed=0), test, CONFIG, tmp_path / "mapped", ignore_progress
    )
    assert resident == [True] * 6 + [False] * 6  # two folds with training, held-out and test rows each
    assert all((a == b).all() for a, b in zip(small, large, strict=True))


def test_diverging_training_is_reported(split, tmp_path):
    view, test = split
    diverging = replace(CONFIG, recipe=Recipe(epochs=3, lr=1e30))
    with pytest.raises(ExecutionError, match=r"fold 1: the term 'ce' is .* a smaller --lr or a --warmup may help"):
        out_of_fold_probabilities(view, assign_folds(view, 2, seed=0), test, diverging, tmp_path, ignore_progress)


def test_wrong_labels_of_toy_data_are_found(tmp_path):
    view = View.of(make_source(30))
    labels = view.labels.copy()
    labels[::10] = (labels[::10] + 1) % 3
    shown, config = view.relabel(labels), replace(CONFIG, recipe=Recipe(epochs=6, lr=0.05))
    own, _ = out_of_fold_probabilities(
        shown, assign_folds(shown, 3, seed=0), view.take(view.rows < 0), config, tmp_path, ignore_progress
    )
    scores = confident_learning.score_detection(
        confident_learning.find_label_issues(labels, own).is_issue, labels, view.truth
    )
    assert scores.errors == 9
    assert scores.true_positives >= 7
    assert scores.flagged <= 11
