"""The statistics against scipy on fixed tables, worked numbers, and simulated studies in which nothing is to be found."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from robustkd.evaluation import significance

TABLE = np.array([[0.9, 0.5, 0.7], [0.8, 0.7, 0.6], [0.7, 0.6, 0.9], [0.95, 0.4, 0.8], [0.85, 0.3, 0.7]])
OTHER = np.array([[0.8, 0.6, 0.7], [0.8, 0.8, 0.5], [0.5, 0.9, 0.8], [0.90, 0.5, 0.9], [0.80, 0.6, 0.75]])


def test_the_paired_test_is_scipys():
    ours = significance.paired_t_test(TABLE - OTHER)
    theirs = stats.ttest_rel(TABLE, OTHER)
    interval = theirs.confidence_interval(0.95)
    np.testing.assert_allclose(ours.p, theirs.pvalue)
    np.testing.assert_allclose(ours.low, interval.low)
    np.testing.assert_allclose(ours.high, interval.high)


def test_a_worked_example():
    # 2, 4, 6, 8, 10: mean 6, std sqrt(10), error sqrt(2), t = 4.2426; t(0.975, 4) = 2.7764, so 6 +- 3.9265.
    made = significance.paired_t_test([[2.0], [4.0], [6.0], [8.0], [10.0]])
    assert made.mean == 6
    np.testing.assert_allclose([made.low[0], made.high[0]], [6 - 3.92648, 6 + 3.92648], atol=1e-4)
    np.testing.assert_allclose(made.p, 0.013236, atol=1e-5)


def test_the_test_is_about_differences_alone():
    """Moved and scaled together, both sides give the same p; turned round, the mean changes its sign."""
    one, moved = (
        significance.paired_t_test(TABLE - OTHER),
        significance.paired_t_test((3 * TABLE + 1) - (3 * OTHER + 1)),
    )
    np.testing.assert_allclose(one.p, moved.p)
    turned = significance.paired_t_test(OTHER - TABLE)
    np.testing.assert_allclose(one.p, turned.p)
    np.testing.assert_allclose(one.low, -turned.high)


def test_no_difference_at_all_is_certain_and_a_constant_one_is_a_sign_test():
    made = significance.paired_t_test(np.tile([0.0, 0.1, -0.1], (6, 1)) + 1e-16)
    assert [float(x[0]) for x in made] == [0, 0, 0, 1]
    assert made.p[1] == made.p[2] == 2 * stats.binom.pmf(6, 6, 0.5)
    assert np.isnan([made.low[1], made.high[1]]).all()


def test_what_cannot_be_said_is_not_a_number():
    one = significance.paired_t_test([[0.1, 0.2]])
    assert one.mean.tolist() == [0.1, 0.2]
    assert np.isnan([one.low, one.high, one.p]).all()
    assert np.isnan(significance.paired_t_test(np.empty((0, 2)))).all()
    hole = significance.paired_t_test([[0.1, np.nan], [0.2, 0.1], [0.4, 0.1]])
    assert np.isnan([x[1] for x in hole]).all()
    assert np.isfinite([x[0] for x in hole]).all()


def holm_by_hand(p):
    order, found, most = sorted(range(len(p)), key=lambda i: p[i]), [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        most = max(most, min(1.0, (len(p) - rank) * p[i]))
        found[i] = most
    return found


def bh_by_hand(p):
    return [min(1.0, *(len(p) * q / sum(r <= q for r in p) for q in p if q >= own)) for own in p]


@pytest.mark.parametrize(
    ("ours", "oracle"), [(significance.holm, holm_by_hand), (significance.benjamini_hochberg, bh_by_hand)]
)
def test_corrections_against_loops(ours, oracle):
    for seed in range(20):
        p = np.random.default_rng(seed).uniform(size=seed + 1) ** 2
        np.testing.assert_allclose(ours(p), oracle(list(p)))
        with_holes = np.concatenate([[np.nan], p, [np.nan]])
        np.testing.assert_allclose(ours(with_holes)[1:-1], oracle(list(p)))
        assert np.isnan(ours(with_holes)[[0, -1]]).all()
    assert len(ours([])) == 0


def test_the_bootstrap_is_refused_where_it_is_too_short():
    rng = np.random.default_rng(0)
    assert np.isnan(significance.bootstrap_interval(rng.normal(size=(9, 2)))).all()
    low, high = significance.bootstrap_interval(np.column_stack([rng.normal(size=30), np.zeros(30)]))
    t = significance.paired_t_test(rng.normal(size=(30, 1)))
    assert low[0] < high[0]
    assert 0.5 < (high[0] - low[0]) / (t.high - t.low)[0] < 1.5
    assert np.isnan([low[1], high[1]]).all()


@pytest.mark.parametrize(("seeds", "misses"), [(5, 0.16), (10, 0.10)])
def test_of_few_seeds_the_bootstrap_misses_and_t_does_not(seeds: int, misses: float):
    """Why intervals are t's: the percentile bootstrap's 95 % interval of few normal differences covers 0 far too seldom."""
    rng = np.random.default_rng(1)
    d = rng.normal(size=(seeds, 4000))
    means = d[rng.integers(0, seeds, size=(1000, seeds))].mean(axis=1)  # the same resamples for all studies
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    t = significance.paired_t_test(d)
    assert np.mean((low > 0) | (high < 0)) == pytest.approx(misses, abs=0.015)
    assert 0.04 < np.mean((t.low > 0) | (t.high < 0)) < 0.06


STUDIES, METHODS = 20_000, 11


def null_studies(seed):
    """Accuracies on 450 test rows where nothing differs but seeds and runs: (5, studies, 1 + methods)."""
    rng = np.random.default_rng(seed)
    ability = 0.93 + 0.01 * rng.normal(size=(5, STUDIES, 1)) + 0.008 * rng.normal(size=(5, STUDIES, 1 + METHODS))
    return np.round(450 * ability) / 450


def test_twenty_thousand_null_studies():
    """Methods that do nothing are called better or worse in 5 % of comparisons, and in 5 % of studies after Holm."""
    accuracy = null_studies(0)
    d = accuracy[:, :, 1:] - accuracy[:, :, :1]  # all methods of a study share its baseline
    t = significance.paired_t_test(d.reshape(5, -1))
    each = np.mean(t.p < significance.ALPHA)
    p = t.p.reshape(STUDIES, METHODS)
    low, mean = t.low.reshape(p.shape), t.mean.reshape(p.shape)
    corrected = np.stack([significance.holm(row) for row in p])
    told = [
        any(
            significance.verdict(5, mean[s, m], low[s, m], corrected[s, m]) in ("better", "worse")
            for m in np.flatnonzero(corrected[s] < 0.5)
        )
        for s in np.flatnonzero(corrected.min(axis=1) < 0.5)
    ]
    family = sum(told) / STUDIES
    assert 0.04 < each <= 0.055
    assert 0.02 < family <= 0.055
    # Without the correction, a study of so many methods would find something in every fourth case or so.
    assert np.mean((p < significance.ALPHA).any(axis=1)) > 0.2


def test_holm_is_statsmodels():
    p = [0.001, 0.02, 0.04, 0.2, 0.9]
    np.testing.assert_allclose(significance.holm(p), multipletests(p, method="holm")[1])


def test_what_is_there_is_found():
    """A difference of one standard deviation of the differences is found more often than not at 20 seeds, seldom at 5."""
    rng = np.random.default_rng(3)
    found = [
        np.mean(significance.paired_t_test(1 + rng.normal(size=(n, 2000))).p < significance.ALPHA) for n in (5, 20)
    ]
    assert found[0] < 0.5 < 0.95 < found[1]
