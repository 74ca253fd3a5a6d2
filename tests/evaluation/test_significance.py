"""Tests and intervals against scipy, statsmodels and values by hand, and simulated studies without any effect."""

import itertools

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from robustkd.evaluation.significance import (
    ALPHA,
    benjamini_hochberg,
    holm,
    paired_t_test,
    sign_flip_test,
    verdict,
)

TABLE = np.array([[0.9, 0.5, 0.7], [0.8, 0.7, 0.6], [0.7, 0.6, 0.9], [0.95, 0.4, 0.8], [0.85, 0.3, 0.7]])
OTHER = np.array([[0.8, 0.6, 0.7], [0.8, 0.8, 0.5], [0.5, 0.9, 0.8], [0.90, 0.5, 0.9], [0.80, 0.6, 0.75]])


def test_the_t_test_is_that_of_two_related_samples():
    result, expected = paired_t_test(TABLE - OTHER), stats.ttest_rel(TABLE, OTHER)
    interval = expected.confidence_interval(0.95)
    np.testing.assert_allclose(result.p, expected.pvalue)
    np.testing.assert_allclose(result.low, interval.low)
    np.testing.assert_allclose(result.high, interval.high)


def test_the_t_test_by_its_formula():
    rng = np.random.default_rng(4)
    for n in (2, 3, 5, 10, 30):
        d = 10.0 ** rng.integers(-6, 3, size=20) * rng.normal(size=(n, 20)) + rng.normal(size=20)
        result, mean, error = paired_t_test(d), d.mean(axis=0), d.std(axis=0, ddof=1) / np.sqrt(n)
        half_width = stats.t.ppf(0.975, n - 1) * error
        np.testing.assert_allclose(result.mean, mean, rtol=1e-12)
        np.testing.assert_allclose(result.low, mean - half_width, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(result.high, mean + half_width, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(result.p, 2 * stats.t.sf(np.abs(mean / error), n - 1), rtol=1e-9, atol=1e-12)


def test_a_worked_example():
    # 2, 4, 6, 8, 10: mean 6, std sqrt(10), error sqrt(2), t = 4.2426; t(0.975, 4) = 2.7764, so 6 +- 3.9265.
    result = paired_t_test([[2.0], [4.0], [6.0], [8.0], [10.0]])
    assert result.mean == 6
    np.testing.assert_allclose([result.low[0], result.high[0]], [6 - 3.92648, 6 + 3.92648], atol=1e-4)
    np.testing.assert_allclose(result.p, 0.013236, atol=1e-5)


def test_only_differences_matter():
    """A common shift and scale leaves p unchanged; exchanging the two sides changes the sign of the mean."""
    result, scaled = paired_t_test(TABLE - OTHER), paired_t_test((3 * TABLE + 1) - (3 * OTHER + 1))
    np.testing.assert_allclose(result.p, scaled.p)
    exchanged = paired_t_test(OTHER - TABLE)
    np.testing.assert_allclose(result.p, exchanged.p)
    np.testing.assert_allclose(result.low, -exchanged.high)


def test_zero_differences_are_certain_and_constant_ones_a_sign_test():
    result = paired_t_test(np.tile([0.0, 0.1, -0.1], (6, 1)) + 1e-16)
    assert [float(x[0]) for x in result] == [0, 0, 0, 1]
    assert result.p[1] == result.p[2] == 2 * stats.binom.pmf(6, 6, 0.5)
    assert np.isnan([result.low[1], result.high[1]]).all()


def test_nearly_constant_differences_raise_no_warning():
    result = paired_t_test([[1000.0], [1000.0 + 2e-12], [1000.0]])
    assert result.low < result.mean < result.high
    assert result.p < 1e-20


def test_undefined_statistics_are_nan():
    one = paired_t_test([[0.1, 0.2]])
    assert one.mean.tolist() == [0.1, 0.2]
    assert np.isnan([one.low, one.high, one.p]).all()
    assert np.isnan(paired_t_test(np.empty((0, 2)))).all()
    assert all(len(x) == 0 for x in paired_t_test(np.empty((3, 0))))
    with_nan = paired_t_test([[0.1, np.nan], [0.2, 0.1], [0.4, 0.1]])
    assert np.isnan([x[1] for x in with_nan]).all()
    assert np.isfinite([x[0] for x in with_nan]).all()


def holm_by_loop(p):
    order, corrected, largest = sorted(range(len(p)), key=lambda i: p[i]), [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
        corrected[i] = largest
    return corrected


def benjamini_hochberg_by_loop(p):
    return [min(1.0, *(len(p) * q / sum(r <= q for r in p) for q in p if q >= own)) for own in p]


@pytest.mark.parametrize(
    ("correct", "by_loop"), [(holm, holm_by_loop), (benjamini_hochberg, benjamini_hochberg_by_loop)]
)
def test_corrections_are_those_of_plain_loops(correct, by_loop):
    for seed in range(20):
        p = np.random.default_rng(seed).uniform(size=seed + 1) ** 2
        np.testing.assert_allclose(correct(p), by_loop(list(p)))
        with_nan = np.concatenate([[np.nan], p, [np.nan]])
        np.testing.assert_allclose(correct(with_nan)[1:-1], by_loop(list(p)))
        assert np.isnan(correct(with_nan)[[0, -1]]).all()
    assert len(correct([])) == 0


def test_holm_is_that_of_statsmodels():
    p = [0.001, 0.02, 0.04, 0.2, 0.9]
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1])


def test_the_sign_flip_test_by_all_signs() -> None:
    rng = np.random.default_rng(0)
    d = rng.normal(size=(7, 4)) + 0.5
    signs = np.array(list(itertools.product((-1, 1), repeat=7)))
    expected = [np.mean(np.abs(signs @ d[:, m]) >= np.abs(d[:, m].sum()) - 1e-12) for m in range(4)]
    np.testing.assert_allclose(sign_flip_test(d), expected)
    np.testing.assert_allclose(sign_flip_test(np.abs(d)), 2 * 0.5**7)


def test_the_sign_flip_test_of_many_seeds_draws_signs_and_of_one_is_undefined() -> None:
    d = np.random.default_rng(0).normal(loc=[0.0, 1.0], size=(40, 2))
    p = sign_flip_test(d)
    np.testing.assert_allclose(p, paired_t_test(d).p, atol=0.02)
    assert (p == sign_flip_test(d)).all(), "the draw is fixed"
    assert np.isnan(sign_flip_test(d[:1])).all()
    assert np.isnan(sign_flip_test([[np.nan, 1.0], [1.0, 1.0]])).tolist() == [True, False]


@pytest.mark.parametrize(("seeds", "misses"), [(5, 0.16), (10, 0.10)])
def test_for_few_seeds_the_bootstrap_undercovers_and_t_does_not(seeds: int, misses: float):
    """The reason for t intervals: the percentile bootstrap's 95 % interval of few normal differences covers 0 too rarely."""
    rng = np.random.default_rng(1)
    d = rng.normal(size=(seeds, 4000))
    means = d[rng.integers(0, seeds, size=(1000, seeds))].mean(axis=1)  # the same resamples for all studies
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    t = paired_t_test(d)
    assert np.mean((low > 0) | (high < 0)) == pytest.approx(misses, abs=0.015)
    assert 0.04 < np.mean((t.low > 0) | (t.high < 0)) < 0.06


STUDIES, METHODS = 20_000, 11


def simulate_null_studies(seed):
    """Accuracies on 450 test images where only seeds and runs differ: (5, studies, 1 + methods)."""
    rng = np.random.default_rng(seed)
    ability = 0.93 + 0.01 * rng.normal(size=(5, STUDIES, 1)) + 0.008 * rng.normal(size=(5, STUDIES, 1 + METHODS))
    return np.round(450 * ability) / 450


def test_twenty_thousand_null_studies():
    """Methods without effect are called better or worse in 5 % of comparisons, and in 5 % of studies after Holm."""
    accuracy = simulate_null_studies(0)
    d = accuracy[:, :, 1:] - accuracy[:, :, :1]  # all methods of a study share its baseline
    t = paired_t_test(d.reshape(5, -1))
    per_comparison = np.mean(t.p < ALPHA)
    p = t.p.reshape(STUDIES, METHODS)
    low, mean = t.low.reshape(p.shape), t.mean.reshape(p.shape)
    corrected = np.stack([holm(row) for row in p])
    false_positives = [
        any(
            verdict(5, mean[s, m], low[s, m], corrected[s, m]) in ("better", "worse")
            for m in np.flatnonzero(corrected[s] < 0.5)
        )
        for s in np.flatnonzero(corrected.min(axis=1) < 0.5)
    ]
    per_study = sum(false_positives) / STUDIES
    assert 0.04 < per_comparison <= 0.055
    assert 0.02 < per_study <= 0.055
    # Without the correction, about a quarter of studies with so many methods would have a false positive.
    assert np.mean((p < ALPHA).any(axis=1)) > 0.2


def test_power_increases_with_the_number_of_seeds():
    """An effect of one standard deviation of the differences is found usually at 20 seeds and rarely at 5."""
    rng = np.random.default_rng(3)
    power = [np.mean(paired_t_test(1 + rng.normal(size=(n, 2000))).p < ALPHA) for n in (5, 20)]
    assert power[0] < 0.5 < 0.95 < power[1]
