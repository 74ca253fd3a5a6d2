"""Base classes of scenarios: chains, curves of class sizes, label noise by a matrix, selection and apportionment."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scenarios
from robustkd import seeds
from robustkd.data.view import View
from scenarios.asym import Asymmetric
from scenarios.base import Chain, Draws, MatrixNoise, apportion, select_corrupted
from scenarios.frequency import FrequencyNoise
from scenarios.noise import Noise
from scenarios.pair import Pair
from tests.scenarios.labelled import balanced_view, cifar_view, count_transitions, make_view

# Chains


def test_a_chain_iterates_over_its_steps() -> None:
    chain = scenarios.parse("imbalance0.2+noise0.4+clean")
    assert [type(step).__name__ for step in chain] == ["Imbalance", "Noise", "Clean"]
    assert chain(cifar_view()).position == 3, "each step draws with its own keys"


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


def test_another_gamma_does_not_reshuffle_the_noise() -> None:
    wrong = []
    for gamma in (0.6, 0.8):
        after = scenarios.parse(f"imbalance{gamma}+noise0.4")(cifar_view())
        wrong.append(dict(zip(after.rows.tolist(), (after.labels != after.published_labels).tolist(), strict=True)))
    common = [row for row in wrong[0] if row in wrong[1]]
    agree = np.mean([wrong[0][row] == wrong[1][row] for row in common])
    assert agree > 0.9  # only rows at the edge of a class's fraction may differ


def test_chains_are_joined_from_left_to_right() -> None:
    steps = [Noise(0.1), Pair(0.2), Noise(0.3), Pair(0.4)]
    joined = (steps[0] >> steps[1]) >> (steps[2] >> steps[3])
    assert joined == Chain(tuple(steps)), "chains are not nested"
    assert joined(balanced_view(20, 3)).digest == steps[3](steps[2](steps[1](steps[0](balanced_view(20, 3))))).digest


def test_steps_of_a_chain_draw_independently() -> None:
    before = balanced_view(1000, 2)
    first, second = Noise(0.5)(before), Noise(0.5)(replace(before, position=1))
    both = (first.labels != before.labels) & (second.labels != before.labels)
    assert both.mean() == pytest.approx(0.25, abs=0.05), "the same seed flips other samples at the next position"


# Label noise by a matrix


class Skewed(MatrixNoise):
    """Noise with an arbitrary transition matrix."""

    def __init__(self, rate: float, draws: Draws) -> None:
        self.rate, self.draws = rate, draws

    def transition_matrix(self, view: View) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
        classes = len(view.classes)
        wrong = np.random.default_rng(classes).exponential(size=(classes, classes)) ** 4 * (1 - np.eye(classes))
        return (1 - self.rate) * np.eye(classes) + self.rate * wrong / wrong.sum(axis=1, keepdims=True)


WORDS: dict[str, Callable[[float, Draws], MatrixNoise]] = {
    "noise": lambda rate, draws: Noise(rate, draws=draws),
    "inclusive": lambda rate, draws: Noise(rate, "inclusive", draws=draws),
    "frequency": lambda rate, draws: Noise(rate, targets="frequency", draws=draws),
    "frequency inclusive": lambda rate, draws: Noise(rate, "inclusive", "frequency", draws=draws),
    "pair": lambda rate, draws: Pair(rate, draws),
    "asym": lambda rate, draws: Asymmetric(rate, "0:1, 1:0, 3:4", draws),
    "block": lambda rate, draws: Asymmetric(rate, "legacy_block", draws),
    "pair of a block": lambda rate, draws: Asymmetric(rate, "legacy_pair", draws),
    "skewed": lambda rate, draws: Skewed(rate, draws),
    "tail": lambda rate, draws: FrequencyNoise(0.9 * rate, -0.5, draws=draws),
    "head": lambda rate, draws: FrequencyNoise(0.9 * rate, 0.5, draws=draws),
}
LABELS = st.sampled_from([5, 10, 15]).flatmap(  # legacy maps need a multiple of five
    lambda classes: st.tuples(st.just(classes), st.lists(st.integers(0, classes - 1), min_size=2, max_size=150))
)
every_word = pytest.mark.parametrize("word", WORDS)
all_draws = pytest.mark.parametrize("draws", ["exact", "independent"])


def has_targets(labels: list[int]) -> bool:
    """Return whether targets by frequency exist."""
    return len(set(labels)) > 1


@every_word
@given(drawn=LABELS, rate=st.floats(0, 1), seed=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_counts_match_the_matrix_up_to_rounding(
    word: str, drawn: tuple[int, list[int]], rate: float, seed: int
) -> None:
    classes, labels = drawn
    if not has_targets(labels):
        labels = [*labels, (labels[0] + 1) % classes]
    before, scenario = make_view(labels, classes, seed), WORDS[word](rate, "exact")
    requested, counts = scenario.transition_matrix(before), count_transitions(before, scenario(before))
    assert np.allclose(requested.sum(axis=1), 1)
    assert requested.min() >= 0
    for i in range(classes):
        total = labels.count(i)
        assert abs(counts[i][i] - requested[i, i] * total) <= 0.5 + 1e-6, "the number of wrong labels is rounded once"
        targets = [j for j in range(classes) if j != i and requested[i, j] > 0]
        alike = len({round(requested[i, j], 12) for j in targets}) == 1
        for j in range(classes):
            if j == i:
                continue
            if j not in targets:
                assert counts[i][j] == 0, "no label goes to a class of probability zero"
                continue
            share = requested[i, j] / sum(requested[i, k] for k in targets)
            # The first term is the rounding of the number of wrong labels, of which j has its share.
            bound = share / 2 + (1 - share if alike else 1 + (len(targets) - 2) * share)
            assert abs(counts[i][j] - requested[i, j] * total) <= bound + 1e-6
            assert not alike or bound < 1


@every_word
@all_draws
@given(drawn=LABELS, rates=st.tuples(st.floats(0, 1), st.floats(0, 1)), seed=st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_a_larger_rate_corrupts_a_superset_to_the_same_wrong_labels(
    word: str, draws: Draws, drawn: tuple[int, list[int]], rates: tuple[float, float], seed: int
) -> None:
    classes, labels = drawn
    before = make_view(labels if has_targets(labels) else [*labels, (labels[0] + 1) % classes], classes, seed)
    low, high = (WORDS[word](rate, draws)(before).labels for rate in sorted(rates))
    wrong = low != before.labels
    assert np.array_equal(low[wrong], high[wrong])


@every_word
@all_draws
def test_rates_nest_over_many_labels_too(word: str, draws: Draws) -> None:
    before = make_view(np.repeat(np.arange(10), np.arange(10, 1010, 100)), 10)
    steps = [WORDS[word](rate, draws)(before).labels for rate in (0.05, 0.1, 0.3, 0.45, 0.9)]
    for low, high in pairwise(steps):
        wrong = low != before.labels
        assert np.array_equal(low[wrong], high[wrong])
        assert wrong.sum() < (high != before.labels).sum()


@every_word
@all_draws
def test_draws_depend_on_seed_and_position_but_not_on_the_order_of_rows(word: str, draws: Draws) -> None:
    scenario, shown = WORDS[word](0.3, draws), balanced_view(40, 10, seed=1)
    assert scenario(shown).digest == scenario(balanced_view(40, 10, seed=1)).digest
    digests = {scenario(balanced_view(40, 10, seed)).digest for seed in range(4)} | {scenario(scenario(shown)).digest}
    assert len(digests) == 5
    order = np.random.default_rng(0).permutation(len(shown))
    assert np.array_equal(scenario(shown.take(order)).labels, scenario(shown).labels[order])


@every_word
def test_independent_draws_are_binomial(word: str) -> None:
    before = make_view(np.repeat(np.arange(10), np.arange(20000, 40000, 2000)), 10)
    scenario = WORDS[word](0.3, "independent")
    requested, after = scenario.transition_matrix(before), scenario(before)
    counts = np.zeros((10, 10))
    np.add.at(counts, (before.labels, after.labels), 1)
    expected = requested * before.counts[:, None]
    spread = np.sqrt(expected * (1 - requested))
    assert (
        np.abs(counts - expected) <= 4.5 * spread + 3
    ).all()  # rare cells have longer tails than a normal distribution
    off = ~np.eye(10, dtype=bool) & (spread > 0)
    assert np.abs(counts - expected)[off].max() > 1, "exact draws would deviate less"
    chosen = np.abs((counts - expected)[off] / spread[off])
    assert chosen.mean() > 0.3, "a binomial's mean deviation is 0.8 of its spread"


@all_draws
def test_a_label_changes_once_from_the_label_shown(draws: Draws) -> None:
    # At rate 1 all cats become dogs and all dogs cats. Relabelling in place would move some back.
    before = balanced_view(100, ("cat", "dog", "eel"))
    after = Asymmetric(1.0, "cat:dog, dog:cat", draws)(before)
    assert count_transitions(before, after) == [[0, 100, 0], [100, 0, 0], [0, 0, 100]]


def test_corruption_rates_are_one_minus_the_diagonal() -> None:
    before, scenario = balanced_view(10, 5), Skewed(0.3, "exact")
    assert scenario.corruption_rates(before).tolist() == pytest.approx([0.3] * 5)
    assert scenarios.parse("step2").corruption_rates(before).tolist() == [0] * 5, "subsampling corrupts no label"


# Selection and apportionment


def test_a_tie_is_rounded_the_same_for_a_rate_with_another_last_bit() -> None:
    shown = make_view([0] * 5 + [1] * 15, 2)
    for rate in (0.1, 1 - 0.9, np.nextafter(0.1, 1), np.nextafter(0.1, 0)):  # 0.5 and 1.5, to the even number
        assert np.diff([*select_corrupted(shown, np.full(2, rate), "exact")[1], 2]).tolist() == [0, 2]


@given(rates=st.lists(st.floats(0, 1), min_size=4, max_size=4), drawn=st.lists(st.integers(0, 3), max_size=80))
@settings(max_examples=60, deadline=None)
def test_flipped_samples_have_the_smallest_keys_of_their_class(rates: list[float], drawn: list[int]) -> None:
    shown = make_view(drawn, 4)
    keys = shown.keys("flip").tolist()
    chosen, starts = select_corrupted(shown, np.array(rates), "exact")
    bounds = [*starts.tolist(), len(chosen)]
    for label, rate in enumerate(rates):
        members = sorted((keys[row], row) for row in range(len(drawn)) if drawn[row] == label)
        expected = [row for _, row in members[: round(round(rate * len(members), 6))]]
        assert chosen[bounds[label] : bounds[label + 1]].tolist() == expected
    selected = {row for row, label in enumerate(drawn) if keys[row] / 2**64 < rates[label]}
    assert set(select_corrupted(shown, np.array(rates), "independent")[0].tolist()) == selected


@given(
    weights=st.lists(st.floats(1e-3, 1), min_size=1, max_size=12), seats=st.integers(0, 80), seed=st.integers(0, 2**63)
)
@settings(max_examples=200, deadline=None)
def test_apportionment_is_within_its_bound_at_every_seat(weights: list[float], seats: int, seed: int) -> None:
    sequence = apportion(np.array([0.0, *weights]), seats, seed).tolist()
    assert len(sequence) == seats
    assert 0 not in sequence, "zero weights get no seat"
    for assigned in range(seats + 1):
        for j, weight in enumerate(weights, start=1):
            share = weight / sum(weights)
            deviation = abs(sequence[:assigned].count(j) - share * assigned)
            assert deviation < max(1 + (len(weights) - 2) * share, 1e-6)
    assert apportion(np.array([0.0, *weights]), seats // 2, seed).tolist() == sequence[: seats // 2]


@given(n=st.integers(2, 40), seats=st.integers(0, 200), seed=st.integers(0, 2**63))
@settings(max_examples=100, deadline=None)
def test_equal_weights_alternate(n: int, seats: int, seed: int) -> None:
    sequence = apportion(np.full(n, 0.3), seats, seed).tolist()
    for start in range(0, seats - n + 1, n):
        assert sorted(sequence[start : start + n]) == list(range(n))
        assert sequence[start : start + n] == sequence[:n]


def test_small_weights_get_their_share() -> None:
    # Half of the weight is in one class, half in 99 others. Sainte-Lague would give the first 49 seats to the one class.
    weights = np.array([0.5, *[0.5 / 99] * 99])
    total = sum(np.bincount(apportion(weights, 20, seeds.derive(seed, "row")), minlength=100) for seed in range(2000))
    assert np.asarray(total)[0] / 2000 == pytest.approx(10, abs=0.2)
    worst = [abs(int((apportion(weights, seats, seats) == 0).sum()) - seats / 2) for seats in range(200)]
    assert max(worst) <= 3, "the other classes together have their share, up to rounding"
