"""Power against statsmodels, simulated studies and the figures of the documentation."""

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from robustkd.evaluation.crossed import Variances, tail_probability
from robustkd.evaluation.power import MAX_SEEDS, Spread, power, seeds_needed, smallest_difference
from robustkd.evaluation.significance import ALPHA, MIN_SEEDS, paired_t_test


@pytest.mark.parametrize("n", [5, 11, 30])
@pytest.mark.parametrize("comparisons", [1, 28])
def test_power_over_seeds_is_that_of_statsmodels(n: int, comparisons: int) -> None:
    expected = TTestPower().power(0.8, n, ALPHA / comparisons / 2, alternative="larger")
    assert power(0.8, n, Spread(1.0), comparisons) == pytest.approx(expected, abs=1e-9)
    assert power(-1.6, n, Spread(2.0), comparisons) == pytest.approx(expected, abs=1e-9)


def test_power_is_the_share_of_simulated_studies_with_a_verdict() -> None:
    rng = np.random.default_rng(0)
    found = paired_t_test(1.2 + 0.9 * rng.normal(size=(6, 20_000)))
    assert power(1.2, 6, Spread(0.9)) == pytest.approx(np.mean((found.p < ALPHA) & (found.mean > 0)), abs=0.01)


@pytest.mark.parametrize("comparisons", [1, 28])
@pytest.mark.parametrize("images", [0.25, 0.5])
def test_power_over_seeds_and_images_is_the_share_of_simulated_studies(images: float, comparisons: int) -> None:
    rng, n, sd, studies = np.random.default_rng(1), 5, 0.9, 20_000
    differences = 2.0 + sd * rng.normal(size=(studies, n)) + images * rng.normal(size=(studies, 1))
    estimates = Variances(differences.var(axis=1, ddof=1) / n, np.full(studies, images**2), np.zeros(studies))
    mean = differences.mean(axis=1)
    found = (tail_probability(mean, estimates, n) < ALPHA / comparisons) & (mean > 0)
    assert power(2.0, n, Spread(sd, images), comparisons) == pytest.approx(found.mean(), abs=0.012)


def test_images_limit_power_whatever_the_number_of_seeds() -> None:
    assert power(1.0, MAX_SEEDS, Spread(0.9, 0.5)) < 0.55
    assert power(1.0, 10, Spread(0.9, 0.1)) < power(1.0, 10, Spread(0.9))
    assert seeds_needed(1.0, Spread(0.9, 0.5)) is None
    assert seeds_needed(2.0, Spread(0.9, 0.5)) is not None


@pytest.mark.parametrize("spread", [Spread(0.9), Spread(2.7, 0.4), Spread(0.0, 0.5)])
@pytest.mark.parametrize("n", [5, 20])
def test_the_smallest_difference_has_a_power_of_80_per_cent(spread: Spread, n: int) -> None:
    for comparisons in (1, 10):
        smallest = smallest_difference(n, spread, comparisons)
        assert power(smallest, n, spread, comparisons) == pytest.approx(0.8, abs=1e-4)


def test_the_number_of_seeds_is_the_first_that_suffices() -> None:
    assert (seeds_needed(1.0, Spread(0.9), 2), seeds_needed(1.0, Spread(0.9), 28)) == (11, 18)
    for gain, spread, comparisons in ((0.5, Spread(0.9), 2), (2.0, Spread(2.7, 0.3), 28)):
        n = seeds_needed(gain, spread, comparisons)
        assert n is not None
        assert power(gain, n, spread, comparisons) >= 0.8 > power(gain, n - 1, spread, comparisons)
    assert seeds_needed(50.0, Spread(0.9)) == MIN_SEEDS, "below it there is no verdict"


def test_without_any_spread_every_difference_is_found() -> None:
    assert smallest_difference(5, Spread(0.0)) == 0.0
    assert power(0.1, 5, Spread(0.0)) == 1.0
    assert power(0.0, 5, Spread(0.0)) == 0.0


def test_power_far_from_0_goes_on_where_the_noncentral_distribution_ends() -> None:
    near, far = (power(shift * np.sqrt(1 / 5), 5, Spread(1.0), 1000) for shift in (29.9, 30.1))
    assert 0.9 < near < far < 1
    assert far - near < 0.01
    assert power(1.0, 5, Spread(1e-9), 28) == 1.0
    assert seeds_needed(0.01, Spread(1e-17), 4) == MIN_SEEDS


@pytest.mark.parametrize("n", [5, 30, MAX_SEEDS])
@pytest.mark.parametrize("comparisons", [1, 28])
def test_power_with_hardly_any_error_over_images_is_that_without(n: int, comparisons: int) -> None:
    for shift in (1.0, 3.0, 5.0):
        spread, difference = Spread(1.0, 1e-6), shift / np.sqrt(n)
        expected = power(difference, n, Spread(1.0), comparisons)
        assert power(difference, n, spread, comparisons) == pytest.approx(expected, abs=3e-4)
