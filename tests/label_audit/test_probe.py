"""The linear probe: strongly regularised classifiers of embeddings that were never fitted on the rows they predict."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from robustkd.data.view import Source, View
from robustkd.label_audit import confident_learning, probe
from robustkd.label_audit.probe import ProbeConfig, divide_into_folds, embed_images, fit_probe, probe_probabilities
from robustkd.models.net import Network
from tests.helpers import make_source

CONFIG = ProbeConfig("resnet8", seed=3)


def blobs(count: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features of three classes, their true labels, and labels of which a share is wrong."""
    random = np.random.default_rng(seed)
    truth = np.arange(count) % 3
    features = random.normal(size=(count, 20)).astype(np.float32)
    features[np.arange(count), truth] += 4
    labels = np.where(random.random(count) < noise, (truth + random.integers(1, 3, count)) % 3, truth)
    return features, truth, labels


def thirds(count: int) -> list[np.ndarray]:
    """Return two different divisions into three folds, each with rows of all classes."""
    return [np.arange(count) // 3 % 3, np.arange(count) // 9 % 3]


@pytest.fixture(autouse=True)
def single_thread() -> Iterator[None]:
    """Use one thread, as tests run in parallel."""
    with threadpool_limits(1):
        yield


def ignore(done: int) -> None:
    """Discard progress."""


@pytest.fixture
def view() -> View:
    return View.of(make_source(12))


def build(view: View) -> Network:
    return probe.build_probe_network(view, CONFIG)


def test_probabilities_are_those_of_classifiers_fitted_on_other_folds() -> None:
    features, _, labels = blobs(90, 0.2)
    divisions = thirds(90)
    own, other, chosen = fit_probe(features, labels, divisions, features[:4], 3)
    standardised = (features - features.mean(0)) / features.std(0)
    expected, of_test = np.zeros((90, 3)), np.zeros((4, 3))
    for folds in divisions:
        for fold in range(3):
            fitted = LogisticRegression(C=chosen, max_iter=1000).fit(standardised[folds != fold], labels[folds != fold])
            expected[folds == fold] += fitted.predict_proba(standardised[folds == fold]) / 2
            of_test += fitted.predict_proba(standardised[:4]) / 6
    np.testing.assert_allclose(own, expected, atol=2e-3)
    np.testing.assert_allclose(other, of_test, atol=2e-3)


def test_strength_has_the_smallest_loss_of_the_first_division() -> None:
    features, _, labels = blobs(120, 0.3)
    (folds, *_) = divisions = thirds(120)
    *_, chosen = fit_probe(features, labels, divisions, features[:0], 3)
    standardised, losses = (features - features.mean(0)) / features.std(0), {}
    for strength in probe.STRENGTHS:
        probabilities = np.zeros((120, 3))
        for fold in range(3):
            fitted = LogisticRegression(C=strength, max_iter=1000).fit(
                standardised[folds != fold], labels[folds != fold]
            )
            probabilities[folds == fold] = fitted.predict_proba(standardised[folds == fold])
        losses[strength] = -np.log(probabilities[np.arange(120), labels]).mean()
    assert chosen == min(losses, key=lambda strength: losses[strength])


def test_more_noise_needs_more_regularisation() -> None:
    def chosen(noise: float) -> float:
        features, _, labels = blobs(300, noise)
        return fit_probe(features, labels, thirds(300), features[:0], 3)[2]

    assert chosen(0.5) < chosen(0.0)


def test_wrong_labels_of_separable_classes_are_found() -> None:
    features, truth, labels = blobs(300, 0.2)
    own, *_ = fit_probe(features, labels, thirds(300), features[:0], 3)
    found = confident_learning.find_label_issues(labels, own)
    scores = confident_learning.score_detection(found.is_issue, labels, truth)
    assert scores is not None
    assert scores.true_positives > 0.9 * scores.flagged
    assert scores.true_positives > 0.9 * scores.errors


def test_labels_of_a_fold_do_not_influence_its_probabilities() -> None:
    features, _, labels = blobs(90, 0.1)
    folds = thirds(90)[0]
    other_labels = np.where(folds == 1, (labels + 1) % 3, labels)
    rows = features.astype(np.float32)
    first, second = (
        probe._predict_folds(rows, each, folds, features[:0], 3, 0.01)[0] for each in (labels, other_labels)
    )
    assert (first[folds == 1] == second[folds == 1]).all()
    assert (first[folds == 0] != second[folds == 0]).any()


def test_a_class_of_one_fold_has_no_probability_there() -> None:
    features, _, _ = blobs(12, 0.0)
    labels = np.array([0, 1] * 5 + [2, 2])
    folds = np.array([0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2])
    own, other, _ = fit_probe(features, labels, [folds], features, 3)
    assert (own[folds == 2, 2] == 0).all()
    assert (own[folds != 2, 2] > 0).all()
    np.testing.assert_allclose(own.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(other.sum(axis=1), 1, atol=1e-5)


def test_a_single_class_outside_a_fold_is_predicted() -> None:
    features, _, _ = blobs(6, 0.0)
    own, *_ = fit_probe(features, np.array([0, 0, 0, 1, 1, 1]), [np.array([0, 0, 0, 1, 1, 1])], features, 2)
    assert own.tolist() == [[0, 1]] * 3 + [[1, 0]] * 3


def test_constant_features_do_no_harm() -> None:
    features, _, labels = blobs(60, 0.1)
    features[:, 5] = 2
    own, *_ = fit_probe(features, labels, thirds(60), features[:0], 3)
    assert np.isfinite(own).all()


def test_embeddings_are_averaged_with_those_of_mirror_images(view: View) -> None:
    net, done = build(view), []
    images = torch.from_numpy(view.images()).float() / 255
    with torch.no_grad():
        plain, mirrored = net(images).embedding, net(images.flip(3)).embedding
    assert not torch.allclose(plain, mirrored)
    for flips, expected in ((True, (plain + mirrored) / 2), (False, plain)):
        source = view.sources[0]
        flipping = View.of(Source("rows", source.images, source.labels, source.classes, flips=flips))
        np.testing.assert_allclose(embed_images(net, flipping, done.append), expected, rtol=1e-4, atol=1e-5)
    assert done == [len(view)] * 2


def test_network_and_batch_norm_are_not_trained(view: View, tmp_path: Path) -> None:
    net = build(view)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    probe_probabilities(view, divide_into_folds(view, 3, 0), view.take(view.rows < 3), net, tmp_path / "p.npz", ignore)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_predictions_are_reused_unless_damaged(view: View, tmp_path: Path) -> None:
    divisions, test, file = divide_into_folds(view, 3, 0), view.take(view.rows < 0), tmp_path / "probe.npz"
    net = build(view)
    first = probe_probabilities(view, divisions, test, net, file, ignore)
    second = probe_probabilities(view, divisions, test, net, file, ignore)
    assert (first.reused, second.reused) == (False, True)
    assert (second.own == first.own).all()
    assert (second.strength, second.seconds) == (first.strength, first.seconds)
    assert second.other.shape == (0, 3)
    file.write_bytes(b"PK\x03\x04 cut short")
    third = probe_probabilities(view, divisions, test, net, file, ignore)
    assert not third.reused
    assert (third.own == first.own).all()


def test_divisions_differ_and_depend_on_the_seed(view: View) -> None:
    first, *others = divide_into_folds(view, 3, 0)
    assert len(others) == probe.DIVISIONS - 1
    assert all((first != other).any() for other in others)
    assert (first != divide_into_folds(view, 3, 1)[0]).any()


def test_rows_of_a_class_in_one_fold_are_unassessable(view: View) -> None:
    folds = np.arange(len(view)) // 3 % 3
    alone = np.where(view.labels == 1, 0, folds)
    assert not probe.unseen_in_any(view, [folds]).any()
    assert (probe.unseen_in_any(view, [folds, alone]) == (view.labels == 1)).all()


def test_network_resizes_images(view: View) -> None:
    net = probe.build_probe_network(view, ProbeConfig("resnet8", image_size=24))
    assert net.image_size == 24
    assert embed_images(net, view, ignore).shape == (len(view), net.head.in_features)
