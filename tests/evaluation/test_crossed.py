"""The test over seeds and images against plain loops, its two limits, statsmodels and resampling of both."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray
from scipy import stats
from statsmodels.formula.api import ols

from robustkd.evaluation.crossed import (
    Variances,
    balanced_variances,
    class_variances,
    crossed_test,
    crossed_test_by_class,
    half_width,
    tail_probability,
)
from robustkd.evaluation.significance import paired_t_test

LABELS = np.array([0] * 30 + [1] * 12 + [3] * 8)


def draw(seed: int, n: int = 5, images: float = 0.8) -> NDArray[np.float64]:
    """Return differences of -1, 0 and 1 in which some images differ in every seed: (n, 50)."""
    rng = np.random.default_rng(seed)
    score = images * rng.normal(size=50) + 0.3 * rng.normal(size=(n, 1)) + rng.normal(size=(n, 50))
    return np.where(score > 1, 1.0, np.where(score < -1.3, -1.0, 0.0))


def variances_by_loops(d: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the three variances from their definitions."""
    n, classes = len(d), sorted(set(LABELS))
    seeds = [np.mean([d[s][c == LABELS].mean() for c in classes]) for s in range(n)]
    image = within = 0.0
    for c in classes:
        own = d[:, c == LABELS]
        size = own.shape[1]
        image += np.var(own.mean(axis=0), ddof=1) / size / len(classes) ** 2
        rest = [own[s, i] - own[s].mean() - own[:, i].mean() + own.mean() for s in range(n) for i in range(size)]
        within += np.square(rest).sum() / ((n - 1) * (size - 1)) / (n * size) / len(classes) ** 2
    return float(np.var(seeds, ddof=1) / n), image, within


@pytest.mark.parametrize("seed", range(3))
def test_variances_are_those_of_plain_loops(seed: int) -> None:
    d, order = draw(seed), np.random.default_rng(seed).permutation(50)
    test = crossed_test(d, LABELS)
    assert test.variances == pytest.approx(variances_by_loops(d))
    assert test.mean == pytest.approx(np.mean([d[:, c == LABELS].mean() for c in (0, 1, 3)]))
    shuffled = crossed_test(d[:, order], LABELS[order])
    assert [float(x) for x in shuffled[:4]] == pytest.approx([float(x) for x in test[:4]])
    several = crossed_test(np.stack([d, draw(seed + 9)]), LABELS)
    assert several.p[0] == pytest.approx(test.p)


def test_mean_squares_are_those_of_a_two_way_analysis_of_variance() -> None:
    d = draw(4)[:, :30]
    table = pd.DataFrame([(s, i, d[s, i]) for s in range(5) for i in range(30)], columns=["seed", "image", "d"])
    squares = sm.stats.anova_lm(ols("d ~ C(seed) + C(image)", table).fit())["mean_sq"] / d.size
    _, variances = class_variances(d, LABELS[:30])
    assert [float(x[0]) for x in variances] == pytest.approx(squares.tolist())


def test_the_variance_is_that_of_resampling_seeds_and_images() -> None:
    """Owen's pigeonhole bootstrap, with its bias of about 2 V_within, where no component is close to 0."""
    rng = np.random.default_rng(0)
    effect = 0.5 * rng.normal(size=(40, 1)) + 2 * rng.normal(size=60) + rng.normal(size=(40, 60))
    means = [effect[rng.integers(0, 40, 40)][:, rng.integers(0, 60, 60)].mean() for _ in range(4000)]
    found = crossed_test(effect, np.zeros(60, dtype=int)).variances
    assert np.var(means) == pytest.approx(found.total + 2 * found.within, rel=0.08)


@pytest.mark.parametrize("n", [2, 3, 5, 20, 1000])
def test_without_variance_over_images_it_is_the_t_test(n: int) -> None:
    seeds = Variances(np.array([4.0]), np.array([0.0]), np.array([0.0]))
    for t in (0.5, 2.0, 6.0):
        assert tail_probability([2 * t], seeds, n) == pytest.approx(2 * stats.t.sf(t, n - 1), rel=1e-4)
    assert half_width(seeds, n) == pytest.approx(2 * stats.t.ppf(0.975, n - 1), rel=1e-4)


def test_without_variance_over_seeds_it_is_the_z_test() -> None:
    images = Variances(np.array([1e-12]), np.array([4.0]), np.array([0.0]))
    assert tail_probability([5.0], images, 5) == pytest.approx(2 * stats.norm.sf(2.5), rel=1e-6)
    assert half_width(images, 5) == pytest.approx(2 * stats.norm.ppf(0.975), rel=1e-6)


def test_the_tail_is_the_average_over_the_unknown_variance_of_seeds() -> None:
    """A Monte Carlo average over the posterior: chi-squared with n - 1 or n + 1 degrees of freedom."""
    rng, seed, images, within = np.random.default_rng(0), 0.5, 1.5, 0.3
    more = rng.random(1_000_000) < (images - within) / (seed + images - within)
    chi = np.where(more, rng.chisquare(6, more.shape), rng.chisquare(4, more.shape))
    total = np.maximum(4 * seed / chi, within) + images - within
    expected = 2 * stats.norm.sf(3 / np.sqrt(total)).mean()
    found = tail_probability([3.0], Variances(np.array([seed]), np.array([images]), np.array([within])), 5)
    assert found == pytest.approx(expected, rel=0.01)


def test_intervals_end_where_p_is_the_level() -> None:
    test = crossed_test(draw(1), LABELS)
    half = (test.high - test.low) / 2
    assert tail_probability(half, test.variances, 5) == pytest.approx(0.05, abs=1e-6)
    assert test.low + half == pytest.approx(test.mean)


def test_each_class_is_tested_as_if_it_were_alone() -> None:
    d = draw(2)
    together = crossed_test_by_class(d, LABELS)
    for place, c in enumerate((0, 1, 3)):
        alone = crossed_test(d[:, c == LABELS], LABELS[c == LABELS])
        assert [float(x[place]) for x in together[:4]] == pytest.approx([float(x) for x in alone[:4]])


def test_a_difference_that_the_same_images_carry_is_no_verdict() -> None:
    """+1.17 points at 5 seeds: standard error 0.26 over seeds and 0.51 over images, Holm's p 0.043 by seeds alone."""
    for within in (0.0, 0.1, 0.26):
        variances = Variances(*(np.array([error**2]) for error in (0.26, 0.51, within)))
        assert 4 * 2 * stats.t.sf(1.17 / 0.26, 4) == pytest.approx(0.043, abs=0.001)
        assert 4 * tail_probability([1.17], variances, 5) > 0.05


def rows_gained(*rows: list[int]) -> NDArray[np.float64]:
    """Return differences over 100 images: in each seed, one network is right on these rows where the other is not."""
    return np.array([np.isin(np.arange(100), gained) for gained in rows], dtype=float)


def test_equal_differences_of_all_seeds_are_judged_like_almost_equal_ones() -> None:
    """One row more in five seeds says little if it is the same row, whether or not a sixth row varies between seeds."""
    labels = np.arange(100) % 2
    same = crossed_test(rows_gained([1], [1], [1], [1], [1]), labels)
    almost = crossed_test(rows_gained([1], [1], [1], [1], [1, 2]), labels)
    assert same.p > 0.2
    assert almost.p > 0.2
    different = crossed_test(rows_gained([1], [2], [3], [4], [5]), labels)
    more = crossed_test(rows_gained([1], [2], [3], [4], [5, 6]), labels)
    assert more.p < different.p < 0.05
    for d in (same, almost, different, more):
        assert d.low < d.mean < d.high


def test_degenerate_differences() -> None:
    labels = np.array([0, 0, 1, 1])
    nothing = crossed_test(np.zeros((5, 4)), labels)
    assert [float(x) for x in nothing[:4]] == [0, 0, 0, 1]
    everything = crossed_test(np.ones((5, 4)), labels)
    assert everything.p == 2 * 0.5**5 == paired_t_test(np.ones((5, 1))).p
    assert np.isnan([everything.low, everything.high]).all()
    lone = crossed_test(draw(0)[:, :31], np.array([0] * 30 + [1]))
    assert lone.variances.images_alone > 0, "a class with one image has the variance of the others"


def test_exchanging_the_sides_changes_the_sign() -> None:
    test, exchanged = crossed_test(draw(3), LABELS), crossed_test(-draw(3), LABELS)
    assert exchanged.p == pytest.approx(test.p)
    assert [exchanged.low, exchanged.high] == pytest.approx([-test.high, -test.low])


def test_null_studies_over_seeds_and_images() -> None:
    """Methods without effect on average, but with images that favour one: seeds alone err in a third, both in 5 %."""
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 4
    favoured = 0.4 * rng.choice([-1, 1], size=(1500, 2, 1, 20))
    right = rng.random((1500, 2, 5, 20)) < 0.5 + favoured
    d = np.zeros((1500, 5, 200))
    d[..., :20] = right[:, 0].astype(float) - right[:, 1]
    test, seeds = crossed_test(d, labels), paired_t_test(d.reshape(1500, 5, 50, 4).mean(axis=2).mean(axis=-1).T)
    assert np.mean(seeds.p < 0.05) > 0.3
    assert 0.025 < np.mean(test.p < 0.05) < 0.057


def test_no_probability_exceeds_one_by_a_rounding_error() -> None:
    """SciPy refuses such p-values when it corrects those of classes, in which a mean difference of 0 is common."""
    random = np.random.default_rng(0)
    for n in range(2, 12):
        seed, images, within = 10.0 ** random.uniform(-6, -1, (3, 1000))
        assert (tail_probability(np.zeros(1000), Variances(seed, images, within), n) <= 1).all()


def test_images_that_are_groups_of_their_own_are_independent() -> None:
    d = draw(1)
    test, alone = crossed_test(d, LABELS), crossed_test(d, LABELS, np.random.default_rng(0).permutation(50))
    assert [*alone.variances] == pytest.approx([*test.variances])


def test_the_variance_over_groups_is_that_of_statsmodels() -> None:
    """Cluster-robust, of a regression on the classes alone; each group has images of every class."""
    rng = np.random.default_rng(2)
    labels, groups = rng.integers(0, 3, 240), rng.integers(0, 12, 240)
    d = rng.integers(-1, 2, (1, 240)) + rng.normal(size=12)[groups]
    _, variances = balanced_variances(np.repeat(d, 4, axis=0), labels, groups)
    fitted = sm.OLS(d[0], np.eye(3)[labels]).fit(cov_type="cluster", cov_kwds={"groups": groups})
    correction = (240 - 1) / (240 - 3)  # of degrees of freedom, which classes of any size have no use for
    assert variances.image == pytest.approx(fitted.cov_params().mean() / correction)
    assert variances.within == 0, "the seeds are equal"
    _, of_class = class_variances(np.repeat(d, 4, axis=0), labels, groups)
    assert of_class.image == pytest.approx(np.diag(fitted.cov_params()) / correction)


@pytest.mark.parametrize("spans", [False, True])
def test_the_variances_of_groups_are_those_of_plain_loops(spans: bool) -> None:
    rng = np.random.default_rng(3)
    d, labels = rng.integers(-1, 2, (5, 60)).astype(float), np.arange(60) % 3
    groups = rng.integers(0, 9, 60) + (0 if spans else 9 * labels)
    image = within = 0.0
    parts: dict[int, list[float]] = {}
    for c in range(3):
        rows = np.flatnonzero(labels == c)
        members = {int(g) for g in groups[rows]}
        factor = np.sqrt(len(members) / (len(members) - 1)) / len(rows) / 3
        for g in members:
            own = [factor * (d[s, rows] - d[s, rows].mean())[groups[rows] == g].sum() for s in range(5)]
            parts[g] = [a + b for a, b in zip(parts.get(g, [0.0] * 5), own, strict=True)]
    for own in parts.values():
        image += np.mean(own) ** 2
        within += np.var(own, ddof=1) / 5
    _, variances = balanced_variances(d, labels, groups)
    assert (float(variances.image), float(variances.within)) == pytest.approx((image, within))


def test_the_error_holds_where_the_images_of_a_group_suit_a_method_or_not() -> None:
    rng = np.random.default_rng(4)
    labels, groups = np.repeat(np.arange(4), 100), np.arange(400) // 10
    suits = rng.normal(size=(800, 1, 40))[..., groups]
    d = np.sign(suits + rng.normal(size=(800, 5, 400))) * (rng.random((800, 5, 400)) < 0.3)
    assert (crossed_test(d, labels).p < 0.05).mean() > 0.15
    assert (crossed_test(d, labels, groups).p < 0.05).mean() < 0.07


def test_with_one_image_per_class_the_variance_is_that_between_classes() -> None:
    rng = np.random.default_rng(5)
    d = rng.integers(-1, 2, (300, 5, 80)).astype(float) * (rng.random((300, 1, 80)) < 0.3)
    assert (crossed_test(d, np.arange(80)).p < 0.05).mean() < 0.08
    _, variances = balanced_variances(d[0], np.arange(80))
    assert variances.image == pytest.approx(d[0].mean(axis=0).var(ddof=1) / 80)
