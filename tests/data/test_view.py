"""Views: rows, labels, digests and foreign images."""

import numpy as np
import pytest

from robustkd.data.view import Source, View, select_smallest_keys


def source(n: int = 40, classes: int = 4, **more: object) -> Source:
    labels = np.arange(n) % classes
    images = np.random.default_rng(0).integers(0, 256, (n, 1, 8, 8), dtype=np.uint8)
    return Source("toy", images, labels, tuple("abcdefgh"[:classes]), truth=labels, **more)  # type: ignore[arg-type]


def test_the_fingerprint_depends_on_images_and_labels() -> None:
    one, same = source(), source()
    assert one.fingerprint == same.fingerprint
    images = one.images.copy()
    images[3, 0, 0, 0] ^= 1
    assert Source("toy", images, one.labels, one.classes).fingerprint != one.fingerprint
    assert Source("toy", one.images, one.labels[::-1].copy(), one.classes).fingerprint != one.fingerprint


def test_taking_rows_keeps_labels_and_truth_together() -> None:
    view = View.of(source()).relabel(np.zeros(40, np.int64)).take(np.array([5, 2]))
    assert view.rows.tolist() == [5, 2]
    assert view.labels.tolist() == [0, 0]
    assert view.truth is not None
    assert view.truth.tolist() == [1, 2]
    assert np.array_equal(view.images(), source().images[[5, 2]])


def test_the_digest_depends_on_rows_and_labels_only() -> None:
    view = View.of(source())
    assert view.digest == View.of(source(), seed=9).digest
    assert view.digest != view.take(np.arange(39)).digest
    assert view.digest != view.relabel(view.labels[::-1].copy()).digest


def test_foreign_images_have_no_true_class() -> None:
    own, foreign = source(), source(n=8)
    view = View((own, foreign), np.array([0, 3, 3]), np.array([0, 3, 1]), origin=np.array([0, 0, 1]))
    assert view.truth is not None
    assert view.truth.tolist() == [0, 3, -1]
    assert np.array_equal(view.images()[2], foreign.images[3])
    assert len(set(view.keys().tolist())) == 3, "the same row of two sources has two keys"


def test_truth_is_none_if_unknown() -> None:
    known = source()
    assert View.of(Source("mine", known.images, known.labels, known.classes)).truth is None


@pytest.mark.parametrize("seed", range(5))
def test_first_by_key_takes_the_smallest_keys_of_each_group(seed: int) -> None:
    random = np.random.default_rng(seed)
    groups = random.integers(0, 7, 200)
    keys = random.integers(0, 1 << 63, 200).astype(np.uint64)
    sizes = random.integers(0, 40, 7)
    chosen, rank = select_smallest_keys(groups, keys, sizes)
    expected = []
    for group in range(7):  # the oracle sorts pairs, one group after another
        members = sorted((int(keys[i]), i) for i in range(200) if groups[i] == group)
        expected += [i for _, i in members[: sizes[group]]]
    assert chosen.tolist() == expected
    assert all(rank[groups[chosen] == g].tolist() == list(range((groups[chosen] == g).sum())) for g in range(7))
