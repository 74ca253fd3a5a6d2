"""instance: the flipped samples are random, their wrong labels depend on the image."""

import subprocess
import sys
from collections import Counter
from math import exp, sqrt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scenarios
from robustkd import seeds
from robustkd.data import sources
from robustkd.data.view import Source, View
from scenarios.instance import Instance, pixel_moments, random_signs

FASHION = Path(__file__).parents[3] / "shared" / "data" / "fashion-mnist"


def source(labels=None, classes=4, shape=(1, 5, 5), seed=0, images=None):
    labels = np.arange(200) % classes if labels is None else np.asarray(labels)
    if images is None:
        images = np.random.default_rng(seed).integers(0, 256, (len(labels), *shape), dtype=np.uint8)
    return Source("toy", images, labels, tuple("abcdefgh"[:classes]), truth=labels.copy())


@given(
    labels=st.lists(st.integers(0, 3), min_size=1, max_size=60),
    rates=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    seed=st.integers(0, 3),
    draws=st.sampled_from(["exact", "independent"]),
)
@settings(max_examples=60, deadline=None)
def test_rates_are_exact_and_nest(labels, rates, seed, draws):
    view = View.of(source(labels), seed=seed)
    low, high = (Instance(rate, draws=draws)(view).labels for rate in sorted(rates))
    if draws == "exact":
        for label in range(4):
            shown = view.labels == label
            assert (high[shown] != label).sum() == round(round(max(rates) * int(shown.sum()), 6))
    wrong = low != view.labels
    assert np.array_equal(low[wrong], high[wrong]), "a larger rate keeps the same wrong labels"
    assert set(high) <= set(range(4))


def test_matches_the_equation():
    """Compare with a loop over samples: standardise, multiply, draw."""
    shown = source(classes=3)
    view = View.of(shown, np.arange(50, 200), seed=5)
    scenario = Instance(1.0, scale=2.0)
    after = scenario(view)
    pixels = shown.images.reshape(200, 25).astype(float)
    uniform = seeds.keys_to_uniform(view.keys("target"))
    compared = 0
    for n, row in enumerate(view.rows):
        x = (pixels[row] - pixels.mean(axis=0)) / pixels.std(axis=0)
        y = int(view.labels[n])
        W = random_signs(view.derive_seed("W", y), 25, 3)
        weights = [0.0 if k == y else exp(2.0 * float(np.dot(x, W[:, k])) / sqrt(25)) for k in range(3)]
        low = 0.0
        for k, weight in enumerate(weights):
            share = weight / sum(weights)
            if low + 1e-3 < uniform[n] < low + share - 1e-3:  # away from boundaries that the rounding of x may shift
                assert after.labels[n] == k
                compared += 1
            low += share
    assert compared > 140


def test_the_product_is_exact_in_integers():
    shown = source(
        images=np.random.default_rng(3).integers(0, 256, (500, 3, 32, 32), dtype=np.uint8), labels=[0, 1] * 250
    )
    mean, deviation = pixel_moments(shown)
    x = np.rint(256 * (shown.images[:64].reshape(64, -1) - mean) / deviation)
    W = random_signs(7, 3072, 4)
    assert set(W.flatten()) == {-1.0, 1.0}
    assert abs(W.mean()) < 0.05
    assert np.array_equal(x @ W, x.astype(np.int64) @ W.astype(np.int64))
    assert np.abs(x).sum(axis=1).max() < 2**53


def test_constant_pixels_and_chunk_size_do_not_matter(monkeypatch):
    images = np.random.default_rng(1).integers(0, 256, (200, 1, 5, 5), dtype=np.uint8)
    images[:, :, 0] = 7
    shown = source(images=images)
    digest = Instance(0.5)(View.of(shown)).digest
    monkeypatch.setattr("scenarios.instance.CHUNK_PIXELS", 60)  # two images at a time
    assert Instance(0.5)(View.of(source(images=images))).digest == digest
    assert pixel_moments(shown).deviation[:5].tolist() == [1.0] * 5
    assert pixel_moments(shown).deviation[5:] == pytest.approx(images.reshape(200, 25).std(axis=0)[5:], rel=1e-12)


def test_blank_images_give_uniform_targets():
    blank = source([0] * 9000, images=np.zeros((9000, 1, 2, 2), np.uint8))
    counts = np.bincount(Instance(1.0)(View.of(blank)).labels, minlength=4)
    assert counts[0] == 0
    assert np.abs(counts[1:] - 3000).max() < 200


def test_copies_of_an_image_have_the_same_target_distribution():
    """Of many copies of two images, each image has its own distribution."""
    two = np.random.default_rng(4).integers(0, 256, (2, 1, 6, 6), dtype=np.uint8)
    shown = source(np.zeros(4000, np.int64), images=np.repeat(two, 2000, axis=0))
    labels = Instance(1.0, scale=2.0)(View.of(shown, seed=2)).labels
    first, second, third, fourth = (np.bincount(part, minlength=4) / 1000 for part in np.split(labels, 4))
    assert np.abs(first - second).max() < 0.07
    assert np.abs(third - fourth).max() < 0.07
    assert np.abs(first - third).max() > 0.15


def test_the_digest_is_stable():
    """The digest in a new process equals the recorded one, which must never change."""
    code = (
        "import numpy as np, scenarios\n"
        "from robustkd.data.view import Source, View\n"
        "images = (np.arange(300 * 64) * 7919 % 251).astype(np.uint8).reshape(300, 1, 8, 8)\n"
        "source = Source('toy', images, np.arange(300) % 5, tuple('abcde'))\n"
        "print(scenarios.parse('instance0.4')(View.of(source)).digest)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert result.stdout.strip() == "d2fc96f5e0e9b6e5"


@pytest.fixture(scope="module")
def fashion():
    if not FASHION.exists():
        pytest.skip(f"Fashion-MNIST is not at {FASHION}")
    read = sources.load_dataset("fashion-mnist", data_dir=str(FASHION))
    return View.of(read, np.flatnonzero(read.parts == "train"))


@pytest.mark.parametrize("seed", range(3))
def test_real_images(fashion, seed):
    view = View.of(fashion.sources[0], fashion.rows, seed)
    after = scenarios.parse("instance0.4")(view)
    wrong = after.labels != view.labels
    assert abs(wrong.mean() - 0.4) < 1e-9, "the rate is exact: 2,400 of each 6,000"
    for label in range(10):
        targets = Counter(after.labels[wrong & (view.labels == label)].tolist())
        assert max(targets.values()) / sum(targets.values()) < 0.5
        assert len(targets) == 9


def test_targets_depend_on_real_images(fashion):
    """A linear probe predicts the target from the image above chance, but not which samples are flipped."""
    from sklearn.linear_model import RidgeClassifier

    def probe_recall(rows, targets):
        """Return the balanced accuracy on half of the rows of a probe trained on the other half."""
        probe = RidgeClassifier(alpha=30, class_weight="balanced").fit(pixels[rows[::2]], targets[rows[::2]])
        predicted, expected = probe.predict(pixels[rows[1::2]]), targets[rows[1::2]]
        return np.mean([(predicted[expected == label] == label).mean() for label in np.unique(expected)])

    partial, full = (scenarios.parse(f"instance{rate}")(fashion).labels for rate in (0.4, 1))
    images = fashion.images().reshape(len(fashion), 14, 2, 14, 2)
    pixels = images.mean(axis=(2, 4)).reshape(len(fashion), -1) / 255
    each = [np.flatnonzero(fashion.labels == label) for label in range(0, 10, 3)]
    target_recall = [probe_recall(rows, full) for rows in each]
    flip_recall = [probe_recall(rows, (partial != fashion.labels).astype(int)) for rows in each]
    assert min(target_recall) > 0.15, "chance is one in nine"
    assert np.abs(np.array(flip_recall) - 0.5).max() < 0.03, "chance is one half"
