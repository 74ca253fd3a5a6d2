"""openset: foreign images under unchanged labels, alone and in chains."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scenarios
from robustkd.data import sources
from robustkd.data.view import Source, View
from robustkd.errors import UsageError
from scenarios.openset import OpenSet


def source(n=200, classes=4, seed=0, shape=(1, 8, 8), labels=None):
    labels = np.arange(n) % classes if labels is None else np.asarray(labels)
    images = np.random.default_rng(seed).integers(0, 256, (len(labels), *shape), dtype=np.uint8)
    return Source("toy", images, labels, tuple("abcdefgh"[:classes]), truth=labels.copy())


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Return a foreign data set of 30 larger colour images, fewer than the samples to replace."""
    path = tmp_path_factory.mktemp("foreign") / "small.npz"
    rng = np.random.default_rng(9)
    np.savez(path, X=rng.integers(0, 256, (30, 12, 12, 3), dtype=np.uint8), y=np.arange(30) % 3)
    return f"npz:{path}"


def triples(view):
    origin = np.zeros_like(view.rows) if view.origin is None else view.origin
    return list(zip(origin.tolist(), view.rows.tolist(), view.labels.tolist(), strict=True))


@given(
    labels=st.lists(st.integers(0, 3), min_size=1, max_size=80),
    rates=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    seed=st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_the_rate_is_exact_in_each_class_and_nests(labels, rates, seed):
    view = View.of(source(labels=labels), seed=seed)
    low, high = (OpenSet(rate, "digits")(view) for rate in sorted(rates))
    assert np.array_equal(high.labels, view.labels), "labels are unchanged"
    for label in range(4):
        shown = view.labels == label
        assert high.foreign[shown].sum() == round(round(max(rates) * int(shown.sum()), 6))
    assert set(np.flatnonzero(low.foreign)) <= set(np.flatnonzero(high.foreign))
    assert np.array_equal(low.rows[low.foreign], high.rows[low.foreign]), "the same samples show the same images"
    assert len({*high.rows[high.foreign].tolist()}) == high.foreign.sum(), "no image is repeated"


def test_images_are_the_foreign_ones_and_their_truth_is_unknown():
    view = View.of(source(shape=(3, 8, 8)), np.arange(20, 180), seed=1)
    after = scenarios.parse("openset(0.25, source=digits)")(view)
    digits = sources.load_dataset("digits")
    assert after.foreign.sum() == 40
    for n, (origin, row, _) in enumerate(triples(after)):
        if origin:
            assert np.array_equal(after.images()[n], np.repeat(digits.images[row], 3, axis=0)), (
                "grey is converted to colour"
            )
            assert after.truth[n] == after.published_labels[n] == -1
        else:
            assert row == view.rows[n]
            assert np.array_equal(after.images()[n], view.images()[n])
            assert after.truth[n] == view.truth[n]


def test_training_and_held_out_rows_share_no_image():
    shown = source(400)
    train, held_out = (OpenSet(1.0, "digits")(View.of(shown, rows)) for rows in (np.arange(300), np.arange(300, 400)))
    assert not set(train.rows) & set(held_out.rows)


def test_images_of_a_smaller_foreign_set_repeat_evenly(small):
    after = OpenSet(1.0, small)(View.of(source(200)))
    repetitions = np.bincount(after.source_rows, minlength=30)
    assert len(set(after.rows.tolist())) == 200, "each sample still has its own identity"
    assert repetitions.min() == 6
    assert repetitions.max() == 7
    assert after.images().shape == (200, 1, 8, 8)


def test_two_steps_with_two_foreign_sets_add_up(small):
    view = View.of(source(), seed=2)
    after = scenarios.parse(f'openset(0.2, source=digits)+openset(0.2, source="{small}")')(view)
    assert np.bincount(after.origin).tolist() == [120, 40, 40]
    assert [other.name for other in after.sources] == ["toy", "digits", small]
    first = scenarios.parse("openset(0.2, source=digits)")(view)
    assert np.array_equal(after.rows[first.foreign], first.rows[first.foreign]), (
        "images that were foreign are unchanged"
    )
    chain = scenarios.parse(
        f'openset(0.1, source=digits)+openset(0.1, source="{small}")+openset(0.3, source="{small}")'
    )
    assert np.bincount(chain(view).origin).tolist() == [100, 20, 80]


def test_two_steps_with_one_foreign_set_share_no_image():
    view = View.of(source(400), seed=2)
    after = scenarios.parse("openset(0.4, source=digits)+openset(0.5, source=digits)")(view)
    assert np.bincount(after.origin).tolist() == [40, 360]
    assert len(after.sources) == 2
    assert len({row for origin, row, _ in triples(after) if origin}) == 360
    all_foreign = scenarios.parse("openset(0.6, source=digits)+openset(0.6, source=digits)")(view)
    assert all_foreign.foreign.all(), "the rate is capped at 1"


@pytest.mark.parametrize(
    ("chain", "foreign", "wrong"),
    [
        ("noise0.4+openset(0.2, source=digits)", 40, None),
        ("openset(0.2, source=digits)+noise0.4", 40, None),
        ("step10+openset(0.2, source=digits)", 22, 0),
        ("openset(0.2, source=digits)+step10", None, 0),
    ],
)
def test_openset_composes(chain, foreign, wrong):
    view = View.of(source(), seed=4)
    after = scenarios.parse(chain)(view)
    if foreign is not None:
        assert after.foreign.sum() == foreign
    own = ~after.foreign
    assert np.array_equal(after.truth[own], view.truth[after.rows[own]])
    assert (after.truth[after.foreign] == -1).all()
    if wrong is not None:
        assert (after.truth[own] != after.labels[own]).sum() == wrong
    if "step" in chain:
        assert after.counts.tolist() == [50, 50, 5, 5], "subsampling uses labels, foreign or not"
    shuffled = view.take(np.random.default_rng(0).permutation(200))
    assert sorted(triples(scenarios.parse(chain)(shuffled))) == sorted(triples(after))


def test_later_noise_relabels_foreign_images_too():
    view = View.of(source(), seed=4)
    middle = scenarios.parse("openset(0.2, source=digits)")(view)
    after = scenarios.parse("openset(0.2, source=digits)+noise1")(view)
    assert (after.labels != view.labels).all()
    assert np.array_equal(after.rows, middle.rows)


def test_independent_draws_have_the_rate_on_average():
    total = [
        OpenSet(0.3, "digits", "independent")(View.of(source(400), seed=seed)).foreign.mean() for seed in range(30)
    ]
    assert abs(np.mean(total) - 0.3) < 0.02
    assert len(set(total)) > 10


def test_seeds_change_samples_and_images():
    one, two = (OpenSet(0.5, "digits")(View.of(source(), seed=seed)) for seed in (0, 1))
    both = one.foreign & two.foreign
    assert 0 < both.sum() < 100
    assert (one.rows[both] != two.rows[both]).mean() > 0.9


def test_rate_zero_changes_nothing():
    view = View.of(source())
    assert OpenSet(0.0, "digits")(view).digest == view.digest


def test_invalid_values_are_rejected(small):
    view = View.of(sources.load_dataset("digits"))
    with pytest.raises(UsageError, match="'digits' is the data set itself: foreign images must come from another"):
        scenarios.parse("openset(0.2, source=digits)")(view)
    with pytest.raises(UsageError, match=r"did you mean 'digits'"):
        scenarios.parse("openset(0.2, source=digit)")(View.of(source()))
    with pytest.raises(UsageError, match=r"there is no .*smal.npz .did you mean 'small.npz'"):
        OpenSet(0.2, small.replace("small", "smal"))(View.of(source()))
    with pytest.raises(UsageError, match="needs a value for source"):
        scenarios.parse("openset0.2")
    with pytest.raises(UsageError, match="less than or equal to 1"):
        scenarios.parse("openset(2, source=digits)")


def test_noise_draws_separately_for_samples_with_the_same_foreign_image(small):
    chain = scenarios.parse(f'openset(1.0, source="{small}")+noise(0.5, draws=independent)')
    view = View.of(source(600), seed=1)
    after = chain(view)
    wrong = [(after.labels != view.labels)[after.source_rows == place].mean() for place in range(30)]
    assert 0 < min(wrong) < max(wrong) < 1, "samples with the same image flip together"
    moved = np.random.default_rng(0).permutation(600)
    assert triples(chain(view.take(moved))) == [triples(after)[n] for n in moved] or sorted(
        triples(chain(view.take(moved)))
    ) == sorted(triples(after))
