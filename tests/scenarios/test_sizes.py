"""Class sizes: along a curve, in an order of classes, nested, and the same for held-out rows."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scenarios
from robustkd.data.view import Source, View
from scenarios.base import list_advice
from scenarios.sizes import Cap, Order, SizeCurve, order_classes
from tests.scenarios.labelled import cifar_view, make_view, view_of_sizes


class Explicit(SizeCurve):
    """Class sizes by position on the curve, as fractions of the largest."""

    def __init__(self, shares: list[float], order: Order = "id", cap: Cap = "smallest") -> None:
        self.shares, self.order, self.cap = shares, order, cap

    def curve_sizes(self, largest: float, classes: int) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
        return largest * np.array(self.shares)


def test_a_curve_is_limited_by_the_smallest_class_or_by_each_class() -> None:
    before = view_of_sizes([80, 40, 20])
    assert Explicit([1, 0.5, 0.1])(before).counts.tolist() == [20, 10, 2]
    assert Explicit([1, 0.5, 0.1], cap="own")(before).counts.tolist() == [80, 40, 8]
    assert Explicit([1, 0.5, 0.1], order="reversed", cap="own")(before).counts.tolist() == [8, 40, 20]


# Images of six kinds of waste to train on (TrashNet): the smallest class is the last one.
WASTE = [272, 338, 277, 401, 326, 93]


@pytest.mark.parametrize(
    ("words", "sizes"),
    [
        ("imbalance(0.2, order=size, cap=own)", [34, 152, 53, 401, 85, 20]),
        ("imbalance(0.2, form=second, order=size, cap=own)", None),
        ("longtail(10, order=size, cap=own)", [63, 253, 100, 401, 159, 40]),
        ("step(10, order=size, cap=own)", [40, 338, 40, 401, 326, 40]),
        ("step(2, order=size)", [46, 93, 46, 93, 93, 46]),
    ],
)
def test_order_size_keeps_the_classes_in_their_order(words: str, sizes: list[int] | None) -> None:
    before, after = view_of_sizes(WASTE), scenarios.parse(words)(view_of_sizes(WASTE)).counts
    assert sizes is None or after.tolist() == sizes
    assert (np.diff(after[np.argsort(before.counts)]) >= 0).all()


def test_held_out_classes_of_equal_size_are_ordered_as_the_training_classes() -> None:
    source = view_of_sizes([30, 34, 32]).sources[0]
    rows = np.concatenate([np.flatnonzero(source.labels == label)[:3] for label in range(3)])
    held_out = scenarios.parse("step(3, order=size)")(View.of(source, rows, training=False))
    assert held_out.counts.tolist() == [1, 3, 3]


def test_a_user_learns_that_the_smallest_class_decides() -> None:
    before = view_of_sizes(WASTE)
    (advice,) = list_advice(scenarios.parse("imbalance0.2+noise0.2"), before)
    assert advice.startswith("imbalance keeps 173 of 1,707 samples")
    assert advice.endswith("with order=size, cap=own it keeps 745, and the largest class stays the largest")
    assert f"('{before.classes[5]}', 93)" in advice
    for words in ("imbalance(0.2, order=size, cap=own)", "fraction0.1", "noise0.4", "clean"):
        assert list_advice(scenarios.parse(words), before) == []
    for words in ("imbalance0.2", "longtail100", "step10"):
        assert list_advice(scenarios.parse(words), view_of_sizes([100] * 6)) == [], "as published, with equal classes"


def test_a_curve_of_an_empty_view_is_empty() -> None:
    assert len(Explicit([1, 0.5, 0.1])(view_of_sizes([0, 0, 0]))) == 0


def test_kept_rows_have_the_smallest_keys_and_their_order_in_the_view() -> None:
    before = view_of_sizes([6, 6, 6]).take(np.random.default_rng(0).permutation(18))
    kept = Explicit([1 / 2, 1 / 3, 1])(before)
    keys = dict(zip(before.rows.tolist(), before.keys("thin").tolist(), strict=True))
    expected = set()
    for label, size in enumerate((3, 2, 6)):
        expected |= set(sorted(range(6 * label, 6 * label + 6), key=keys.__getitem__)[:size])
    assert kept.rows.tolist() == [row for row in before.rows.tolist() if row in expected]


def test_class_orders() -> None:
    assert order_classes("id", 4, 0).tolist() == [0, 1, 2, 3]
    assert order_classes("reversed", 4, 7).tolist() == [3, 2, 1, 0]
    firsts = [order_classes("seeded", 4, seed).tolist() for seed in range(400)]
    assert all(sorted(order) == [0, 1, 2, 3] for order in firsts)
    assert min(sum(order[0] == label for order in firsts) for label in range(4)) > 60, "each is first about 100 times"


def test_cap_own_keeps_small_classes_whole() -> None:
    labels = np.repeat(np.arange(3), [100, 10, 50])
    capped = scenarios.parse("step(factor=2, cap=own)")(make_view(labels, 3))
    assert capped.counts.tolist() == [100, 10, 50]
    least = scenarios.parse("step2")(make_view(labels, 3))
    assert least.counts.tolist() == [10, 10, 5]


def test_a_seeded_order_is_a_permutation_by_seed() -> None:
    orders = [scenarios.parse("longtail(10, order=seeded)")(cifar_view(seed=seed)).counts for seed in range(3)]
    assert len({tuple(counts) for counts in orders}) == 3
    assert all(sorted(counts) == sorted(orders[0]) for counts in orders)


COUNTS = st.lists(st.integers(1, 90), min_size=2, max_size=9)
# Scenarios whose size increases with the value.
FAMILIES: dict[str, Callable[[float], str]] = {
    "gamma": lambda value: f"imbalance{0.05 + 5 * value:.6f}",
    "gamma, second form": lambda value: f"imbalance({0.05 + 5 * value:.6f}, form=second, cap=own)",
    "longtail": lambda value: f"longtail(factor={300 - 298 * value:.6f}, order=seeded)",
    "step": lambda value: f"step(factor={300 - 298 * value:.6f}, order=reversed, cap=own)",
    "fraction": lambda value: f"fraction{0.01 + 0.99 * value:.6f}",
}


@pytest.mark.parametrize("family", FAMILIES)
@given(counts=COUNTS, values=st.lists(st.floats(0, 1), min_size=2, max_size=3), seed=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_larger_sizes_keep_a_superset_within_bounds(
    family: str, counts: list[int], values: list[float], seed: int
) -> None:
    view = view_of_sizes(counts, seed)
    kept = [scenarios.parse(FAMILIES[family](value))(view) for value in sorted(values)]
    for fewer, more in pairwise(kept):
        assert set(fewer.rows) <= set(more.rows)
    for after in kept:
        assert (after.counts <= view.counts).all()
        assert np.array_equal(after.labels, after.published_labels)
        shuffled = view.take(np.random.default_rng(seed).permutation(len(view)))
        again = scenarios.parse(FAMILIES[family](sorted(values)[0]))(shuffled)
        assert sorted(again.rows) == kept[0].rows.tolist(), "the order of rows must not matter"


@pytest.mark.parametrize("words", ["longtail10", "imbalance0.5", "step10", "fraction0.3"])
def test_another_seed_keeps_other_rows_and_the_same_sizes(words: str) -> None:
    kept = [scenarios.parse(words)(view_of_sizes([40] * 5, seed)) for seed in range(3)]
    assert len({after.rows.tobytes() for after in kept}) == 3
    assert len({after.counts.tobytes() for after in kept}) == 1


@given(seed=st.integers(0, 50), words=st.sampled_from(["longtail(100, order=seeded)", "step(10, order=seeded)"]))
@settings(max_examples=40, deadline=None)
def test_held_out_rows_have_the_class_order_of_training_rows(seed: int, words: str) -> None:
    train = scenarios.parse(words)(view_of_sizes([900] * 6, seed))
    held_out = scenarios.parse(words)(replace(view_of_sizes([100] * 6, seed), scale=1 / 9))
    largest = np.argsort(-train.counts, kind="stable")
    assert (np.diff(held_out.counts[largest]) <= 0).all(), "the order differs"
    assert np.abs(held_out.counts - train.counts / 9).max() <= 1


def test_a_class_absent_from_held_out_rows_does_not_empty_others() -> None:
    labels = np.repeat([0, 2], [20, 40])
    shown = View.of(Source("toy", np.zeros((60, 1, 1, 1), np.uint8), labels, tuple("abc")), scale=0.1)
    assert scenarios.parse("step2")(shown).counts.tolist() == [20, 0, 10]
