r"""A test of paired differences over seeds and test images, both of which a study has only a sample of.

Two networks of seed s are compared on test image i of class c by d_si, the correctness of one minus that of the other: -1, 0
or 1. Seeds and images are crossed random effects around each class's mean,

    d_si = delta_c + a_s + b_i + e_si,

and the difference in balanced accuracy is the mean of the K class means. Three estimates of variance, each of a mean over n
seeds and the n_c images of each class, follow from the two-way analysis of variance within classes:

    V_seed    variance of the seeds' differences / n                   estimates  Var(a) + Var(e)
    V_image   sum over classes of Var_i(mean over seeds) / (K^2 n_c)   estimates  Var(b) + Var(e)
    V_within  the same of the residuals, / n                           estimates  Var(e)

so that the variance over both is V = V_seed + V_image - V_within (Cameron, Gelbach & Miller 2011, Robust inference with
multiway clustering). Resampling seeds and images independently overestimates it, by about 2 V_within (McCullagh 2000,
Resampling and exchangeable arrays; Owen 2007, The pigeonhole bootstrap, doi:10.1214/07-AOAS122; Owen & Eckles 2012,
arXiv:1106.2125). No component is negative, therefore

    V = max(V_seed, V_within) + max(V_image - V_within, 0).

The images are many and the seeds are few: with n = 5, V_seed has four degrees of freedom. With its true value psi unknown and
the rest known, this is the problem of Behrens and Fisher. Its p-value is the tail of a normal distribution of variance
max(psi, V_within) + max(V_image - V_within, 0), averaged over psi = (n - 1) V_seed / Q. Q has a chi-squared distribution with
n - 1 degrees of freedom (Behrens' and Fisher's solution), or n + 1 with the weight that the images have in V: that is the
posterior under the second-order probability matching prior (Ghosh & Kim 2001, The Behrens-Fisher problem revisited: a
Bayes-frequentist synthesis). Where images add nothing it is Student's t test over the seeds, and where seeds add nothing a z
test over the images. Satterthwaite's approximation is not used, because at the small levels of Holm's correction its error is
several times the nominal one: its degrees of freedom rest on the same V_seed. Error and power are measured in
benchmarks/verdicts.py.

Images of one group, such as those of a patient or a video, are not independent: their deviations from the class mean are added
up, and groups take the place of images. With e_si the deviation of image i, V_image becomes, for each class,

    G_c / (G_c - 1) sum over groups g of (mean over seeds of sum_{i in g} e_si)^2 / n_c^2

where G_c is the number of groups with images of the class, and V_within follows in the same way. Groups with images of several
classes add up over these before they are squared. With groups of one image, all of this is as above. Of a class with a single
image or group, the variance is taken to be the average of the other classes; where every class has only one, that between the
classes.

In shapes, n is the number of seeds, N of test images; further dimensions come first.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from robustkd.evaluation.significance import ALPHA, EQUALITY_TOLERANCE

QUANTILES = 320  # of chi-squared, over which p is averaged, equidistant in their logarithm
OUTSIDE = 1e-24  # the probability of smaller quantiles, and of larger ones
LOWEST = 1e-12  # quantile, for very few degrees of freedom
STEPS = 40  # of the search for the ends of an interval, each of which halves the error

Float64Array = NDArray[np.float64]


class Variances(NamedTuple):
    """Estimates of the variance of a mean difference, of whatever shape the comparisons have."""

    seed: Float64Array  # over seeds, on these images
    image: Float64Array  # over images, for these seeds
    within: Float64Array  # of what is left, which both contain

    @property
    def images_alone(self) -> Float64Array:
        """The part of the variance that more seeds do not reduce."""
        part: Float64Array = np.maximum(self.image - self.within, 0)
        return part

    @property
    def total(self) -> Float64Array:
        """The variance over seeds and images."""
        total: Float64Array = np.maximum(self.seed, self.within) + self.images_alone
        return total


class CrossedTest(NamedTuple):
    """Mean differences, their 95 % intervals, p-values of the hypothesis that the mean is 0, and the variances behind them."""

    mean: Float64Array
    low: Float64Array
    high: Float64Array
    p: Float64Array
    variances: Variances


def crossed_test(differences: ArrayLike, labels: ArrayLike, groups: ArrayLike | None = None) -> CrossedTest:
    """Test whether the mean difference in balanced accuracy is 0 over seeds and images.

    Args:
        differences: in correctness (..., n, N), of at least two seeds.
        labels: the class of each image (N,). Classes without images do not count.
        groups: the number of the group that each image belongs to (N,); None if each is independent of all others.

    Returns:
        Arrays of shape (...). Where no image differs in any seed, the mean is 0 for certain, and p = 1. Where all differ alike,
        their variance is no estimate: there is no interval, and p is that of the sign test, 2^(1-n).

    >>> rng = np.random.default_rng(0)
    >>> test = crossed_test(rng.binomial(1, 0.9, (5, 200)) - rng.binomial(1, 0.8, (5, 200)), np.arange(200) % 2)
    >>> [round(float(x), 3) for x in test[:4]]
    [0.104, 0.055, 0.153, 0.004]
    """
    by_seed, variances = balanced_variances(np.asarray(differences, dtype=np.float64), np.asarray(labels), groups)
    return _test_mean(by_seed.mean(axis=-1), variances, by_seed.shape[-1])


def crossed_test_by_class(differences: ArrayLike, labels: ArrayLike, groups: ArrayLike | None = None) -> CrossedTest:
    """Test the mean difference in each class's recall alike: (..., n, N) -> (..., K) for the K classes with images."""
    by_class, variances = class_variances(np.asarray(differences, dtype=np.float64), np.asarray(labels), groups)
    return _test_mean(by_class.mean(axis=-2), variances, by_class.shape[-2])


def _test_mean(mean: Float64Array, variances: Variances, n: int) -> CrossedTest:
    half = half_width(variances, n)
    half = np.where(variances.total > 0, half, np.where(mean == 0, 0.0, np.nan))
    return CrossedTest(mean, mean - half, mean + half, p_value(mean, variances, n), variances)


def p_value(mean: Float64Array, variances: Variances, n: int) -> Float64Array:
    """Return the p-value of mean differences over n seeds, those without any variance included."""
    without = np.where(mean == 0, 1.0, 2.0 ** (1 - n))
    p: Float64Array = np.where(variances.total > 0, tail_probability(mean, variances, n), without)
    return p


def balanced_variances(
    differences: Float64Array, labels: NDArray[np.int64], groups: ArrayLike | None = None
) -> tuple[Float64Array, Variances]:
    """Return the difference in balanced accuracy by seed, and its variances: (..., n, N) -> (..., n) and (...) each."""
    units = arrange_units(labels, groups)
    by_class, parts = _unit_parts(differences, units)
    by_seed: Float64Array = by_class.mean(axis=-1)
    k, n = by_class.shape[-1], by_class.shape[-2]
    image, within = (of_classes.sum(axis=-1) for of_classes in _estimate(by_class, parts, units))
    order = np.argsort(units.group, kind="stable")
    starts = _find_starts(units.group[order])
    if len(starts) < len(order):  # groups with images of several classes, which then vary together
        together = _squares(np.add.reduceat(parts[..., order], starts, axis=-1), np.zeros(1, int))
        apart = _squares(parts, np.zeros(1, int))
        image, within = (
            total + (joint - single)[..., 0]
            for total, joint, single in zip((image, within), together, apart, strict=True)
        )
    return by_seed, Variances(by_seed.var(axis=-1, ddof=1) / n, image / k**2, within / k**2)


def class_variances(
    differences: Float64Array, labels: NDArray[np.int64], groups: ArrayLike | None = None
) -> tuple[Float64Array, Variances]:
    """Return the difference in each class's recall by seed, and its variances: (..., n, N) -> (..., n, K) and (..., K) each."""
    units = arrange_units(labels, groups)
    by_class, parts = _unit_parts(differences, units)
    seed: Float64Array = by_class.var(axis=-2, ddof=1) / by_class.shape[-2]
    return by_class, Variances(seed, *_estimate(by_class, parts, units))


class Units(NamedTuple):
    """The test images in the order of classes and, within a class, of groups. A unit is a group's part of a class."""

    order: NDArray[np.int64]  # of the images (N,)
    starts: NDArray[np.int64]  # where each unit begins among these (U,)
    group: NDArray[np.int64]  # of each unit (U,)
    first: NDArray[np.int64]  # unit of each class (K,)
    counts: NDArray[np.int64]  # units of each class (K,)
    sizes: NDArray[np.int64]  # images of each class (K,)


def arrange_units(labels: NDArray[np.int64], groups: ArrayLike | None = None) -> Units:
    """Arrange images by class and group: (N,). Without groups, each image is a unit."""
    _, classes = np.unique(labels, return_inverse=True)
    numbers = np.arange(len(classes)) if groups is None else np.asarray(groups)
    order = np.lexsort((numbers, classes))
    classes, numbers = classes[order], numbers[order]
    starts = _find_starts(classes, numbers)
    counts = np.bincount(classes[starts])
    return Units(order, starts, numbers[starts], np.cumsum(counts) - counts, counts, np.bincount(classes))


def _find_starts(*sorted_values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where values that are sorted together change, and 0."""
    changes = np.any([np.diff(values) != 0 for values in sorted_values], axis=0)
    return np.flatnonzero(np.append(True, changes))


def _unit_parts(differences: Float64Array, units: Units) -> tuple[Float64Array, Float64Array]:
    """Return the mean of each class, and each unit's part of its deviation: (..., n, N) -> (..., n, K), (..., n, U).

    The sum of the squares of a class's parts estimates the variance of its mean over images.
    """
    d = differences[..., units.order]
    starts = units.starts[units.first]
    by_class: Float64Array = np.add.reduceat(d, starts, axis=-1) / units.sizes
    deviations = np.add.reduceat(d - np.repeat(by_class, units.sizes, axis=-1), units.starts, axis=-1)
    scale = np.sqrt(units.counts / np.maximum(units.counts - 1, 1)) / units.sizes
    return by_class, deviations * np.repeat(scale, units.counts)


def _squares(parts: Float64Array, starts: NDArray[np.int64]) -> tuple[Float64Array, Float64Array]:
    """Return V_image and V_within of each class, or of all, by the parts of their units: (..., n, U) -> (..., K) each."""
    n = parts.shape[-2]
    image = np.add.reduceat(parts.mean(axis=-2) ** 2, starts, axis=-1)
    of_all = np.add.reduceat(parts**2, starts, axis=-1).sum(axis=-2)
    residual = of_all - n * image
    # Rounding errors of what is 0 are no variance.
    residual = np.where(residual > EQUALITY_TOLERANCE * (of_all + EQUALITY_TOLERANCE), residual, 0)
    return np.where(image > EQUALITY_TOLERANCE**2, image, 0), residual / (n * (n - 1))


def _estimate(by_class: Float64Array, parts: Float64Array, units: Units) -> tuple[Float64Array, Float64Array]:
    """Return V_image and V_within of each class, those with a single unit included: (..., K) each."""
    found, counts = _squares(parts, units.first), units.counts
    if (counts > 1).all():
        return found
    if (counts > 1).any():  # the average variance of a unit
        others = [(each * counts * (counts - 1)).sum(axis=-1) / (counts - 1).sum() for each in found]
    else:
        between = by_class - by_class.mean(axis=-1, keepdims=True)
        scale = np.sqrt(1 / max(len(counts) - 1, 1))
        others = [each[..., 0] for each in _squares(between * scale, np.zeros(1, int))]
    image, within = (np.where(counts > 1, each, other[..., None]) for each, other in zip(found, others, strict=True))
    return image, within


def tail_probability(distance: ArrayLike, variances: Variances, n: int) -> Float64Array:
    """Return the two-sided p-value of mean differences this far from 0, over n seeds."""
    distance, (seed, _, within) = np.abs(np.asarray(distance, dtype=np.float64)), variances
    images, (quantiles, fewer, more) = variances.images_alone, _chi_squared(n)
    with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0 where all differences are equal
        share = np.nan_to_num(images / (seed + images))[..., None]
        variance = np.maximum((n - 1) * seed[..., None] / quantiles, within[..., None]) + images[..., None]
        tails = special.erfc(distance[..., None] / np.sqrt(2 * variance))
    weights = (1 - share) * fewer + share * more
    # The weights add up to 1 with a rounding error.
    average: Float64Array = np.minimum((weights * tails).sum(axis=-1), 1)
    return average


@cache
def _chi_squared(n: int) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Return quantiles of chi-squared, and the probability around each for n - 1 and for n + 1 degrees of freedom."""
    low, high = max(LOWEST, stats.chi2.ppf(OUTSIDE, n - 1)), stats.chi2.isf(OUTSIDE, n + 1)
    quantiles = np.geomspace(low, high, QUANTILES)
    densities = [stats.chi2.pdf(quantiles, degrees) * quantiles for degrees in (n - 1, n + 1)]
    fewer, more = (density / density.sum() for density in densities)
    return quantiles, fewer, more


def half_width(variances: Variances, n: int, alpha: float = ALPHA) -> Float64Array:
    """Return half the width of the interval over n seeds at a level: the distance from 0 at which p is alpha."""
    low = np.zeros_like(variances.total)
    high = np.sqrt(variances.total) * stats.t.isf(alpha / 2, n - 1) * 2
    for _ in range(STEPS):
        middle = (low + high) / 2
        inside = tail_probability(middle, variances, n) > alpha
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    half: Float64Array = (low + high) / 2
    return half
