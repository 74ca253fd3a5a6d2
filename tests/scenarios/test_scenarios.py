"""Scenarios: exact counts and published class sizes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scenarios
from robustkd.data.view import Source, View
from robustkd.errors import UsageError
from scenarios.noise import Noise


def make_view(labels: "np.ndarray[tuple[int], np.dtype[np.int64]]", classes: int, seed: int = 0) -> View:
    images = np.zeros((len(labels), 1, 1, 1), np.uint8)
    return View.of(Source("toy", images, labels, tuple(map(str, range(classes))), truth=labels), seed=seed)


def cifar_view(classes: int = 10, seed: int = 0) -> View:
    return make_view(np.repeat(np.arange(classes), 50000 // classes), classes, seed)


def count_transitions(view: View) -> "np.ndarray[tuple[int, int], np.dtype[np.int64]]":
    """Count true label by label shown, with a plain loop."""
    assert view.truth is not None
    matrix = np.zeros((len(view.classes),) * 2, np.int64)
    for true, label in zip(view.truth, view.labels, strict=True):
        matrix[true, label] += 1
    return matrix


@pytest.mark.parametrize(("words", "kept"), [("noise0.4", 3000), ("noise(rate=0.4, convention=inclusive)", 3200)])
def test_noise_is_exact_in_every_class(words: str, kept: int) -> None:
    matrix = count_transitions(scenarios.parse(words)(cifar_view()))
    assert np.diag(matrix).tolist() == [kept] * 10
    off = matrix[~np.eye(10, dtype=bool)]
    assert off.max() - off.min() <= 1, "the wrong labels of a class are spread evenly"


@given(
    labels=st.lists(st.integers(0, 5), min_size=1, max_size=120),
    rate=st.floats(0, 1),
    more=st.floats(0, 1),
    seed=st.integers(0, 3),
)
@settings(max_examples=150, deadline=None)
def test_noise_counts_and_nests_for_any_labels(labels: list[int], rate: float, more: float, seed: int) -> None:
    view = make_view(np.array(labels), 6, seed)
    low, high = (Noise(r)(view) for r in sorted((rate, more)))
    for scenario_rate, after in zip(sorted((rate, more)), (low, high), strict=True):
        changed = after.labels != view.labels
        for label in range(6):
            count = int((view.labels == label).sum())
            assert int(changed[view.labels == label].sum()) == round(round(scenario_rate * count, 6))
        assert len(after) == len(view)
    wrong = low.labels != view.labels
    assert np.array_equal(low.labels[wrong], high.labels[wrong]), "a larger rate keeps the same wrong labels"


def test_draws_depend_on_the_seed() -> None:
    noise = scenarios.parse("noise0.2")
    assert noise(cifar_view(seed=1)).digest == noise(cifar_view(seed=1)).digest
    assert noise(cifar_view(seed=1)).digest != noise(cifar_view(seed=2)).digest


def test_wrong_labels_are_uniform_over_classes() -> None:
    # Five flips per class and nine targets: over many seeds all targets are equally frequent.
    total = sum(count_transitions(Noise(0.5)(make_view(np.repeat(np.arange(10), 10), 10, seed))) for seed in range(200))
    off = np.asarray(total)[~np.eye(10, dtype=bool)]
    assert abs(off.mean() - 200 * 5 / 9) < 1e-9
    assert off.std() < 12, "binomial spread would be about 7"


# Class sizes of the published protocols: arXiv 2007.01922 (read as a power law) and arXiv 1906.07413.
@pytest.mark.parametrize(
    ("words", "sizes"),
    [
        ("imbalance0.2", [250, 375, 508, 664, 858, 1113, 1470, 2014, 2955, 5000]),
        ("imbalance0.6", [250, 440, 645, 882, 1166, 1522, 1983, 2614, 3531, 5000]),
        ("imbalance1", [250, 529, 844, 1200, 1607, 2077, 2625, 3273, 4050, 5000]),
        ("imbalance2", [250, 892, 1700, 2491, 3173, 3728, 4168, 4513, 4785, 5000]),
        ("imbalance0.4", [250, 405, 570, 762, 997, 1299, 1708, 2301, 3245, 5000]),
        ("imbalance0.8", [250, 481, 736, 1027, 1369, 1782, 2292, 2942, 3803, 5000]),
        ("imbalance1.5", [250, 683, 1203, 1765, 2343, 2916, 3475, 4011, 4520, 5000]),
        ("imbalance(0.6, form=second)", [5000, 1166, 720, 539, 440, 376, 331, 297, 271, 250]),
        ("imbalance(1, form=second)", [5000, 1607, 957, 682, 529, 433, 366, 317, 280, 250]),
        ("imbalance(2, form=second)", [5000, 3173, 1972, 1289, 892, 648, 490, 382, 306, 250]),
        ("imbalance(0.2, order=reversed)", [5000, 2955, 2014, 1470, 1113, 858, 664, 508, 375, 250]),
        ("imbalance(0.2, form=second)", [5000, 858, 557, 439, 375, 333, 304, 282, 264, 250]),
        ("longtail100", [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]),
        ("step10", [5000] * 5 + [500] * 5),
    ],
)
def test_class_sizes_are_the_published_ones(words: str, sizes: list[int]) -> None:
    assert scenarios.parse(words)(cifar_view()).counts.tolist() == sizes


@pytest.mark.parametrize(
    ("words", "total"),
    [
        ("longtail200", 9502),
        ("longtail100", 10847),
        ("longtail50", 12608),
        ("longtail10", 19573),
        ("imbalance0.2", 20380),
    ],
)
def test_totals_of_a_hundred_classes_are_the_published_ones(words: str, total: int) -> None:
    assert len(scenarios.parse(words)(cifar_view(100))) == total


def test_a_larger_gamma_keeps_a_superset() -> None:
    small, large = (scenarios.parse(f"imbalance{gamma}")(cifar_view()) for gamma in (0.2, 0.6))
    assert set(small.rows) < set(large.rows)


def test_another_gamma_does_not_reshuffle_the_noise() -> None:
    wrong = []
    for gamma in (0.6, 0.8):
        after = scenarios.parse(f"imbalance{gamma}+noise0.4")(cifar_view())
        assert after.truth is not None
        wrong.append(dict(zip(after.rows.tolist(), (after.labels != after.truth).tolist(), strict=True)))
    common = [row for row in wrong[0] if row in wrong[1]]
    agree = np.mean([wrong[0][row] == wrong[1][row] for row in common])
    assert agree > 0.9  # only rows at the edge of a class's fraction may differ


def test_the_order_of_a_chain_matters() -> None:
    first, second = (
        scenarios.parse(words)(cifar_view()) for words in ("imbalance0.2+noise0.4", "noise0.4+imbalance0.2")
    )
    assert first.counts.tolist() != second.counts.tolist()
    subsampled = scenarios.parse("imbalance0.2")(cifar_view()).counts
    assert np.abs(second.counts - subsampled).max() <= 5, (
        "subsampling uses the labels shown, so noise does not change its curve"
    )
    assert np.abs(first.counts - subsampled).max() > 500


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


def test_a_chain_iterates_over_its_steps() -> None:
    chain = scenarios.parse("imbalance0.2+noise0.4+clean")
    assert [type(step).__name__ for step in chain] == ["Imbalance", "Noise", "Clean"]
    assert chain(cifar_view()).position == 3, "each step draws with its own keys"


@pytest.mark.parametrize(
    "words", ["noise1.4", "noise-0.1", "noise", "nois0.4", "imbalance0", "longtail1", "step(0.5)", "noise0.4+"]
)
def test_invalid_values_are_rejected(words: str) -> None:
    with pytest.raises(UsageError):
        scenarios.parse(words)
