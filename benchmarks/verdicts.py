"""The error and the power of verdicts over seeds and test images, in simulated studies.

    python benchmarks/verdicts.py error --to verdicts-error.csv     # 10,000 studies per setting without any effect
    python benchmarks/verdicts.py power --to verdicts-power.csv     # true differences, and the seeds that they take
    python benchmarks/verdicts.py extend --to verdicts-extend.csv   # few seeds for all methods, more for the best of them

A study compares M methods with one baseline over n seeds on N test images of ten classes. A share h of the images is hard: on
these a network of method m and seed s is right with probability 1/2 + w_mi + a_ms / h, where a_ms is the effect of training
on the accuracy and w_mi = +-w says that a method suits an image or not; on all other images all are right. Both have mean 0,
so that no method has an effect over all seeds and images, but each has one on the images of this test set. Columns: the share
of comparisons with p < 0.05, and of studies in which Holm's correction leaves any difference; by `crossed`, the test of
verdicts, by Student's t test over seeds alone (`seeds`), and the share of comparisons in which the sign-flip test is below
0.05 too (`confirmed`).

Power needs no images: in a balanced two-way analysis of normal differences, the three mean squares behind a standard error are
independent of the mean and of each other, and distributed as chi-squared. `seeds` is the standard deviation of the paired
difference over seeds, of which a half is what is left within seeds and images (`WITHIN`), `images` the standard error over test
images, both in points. A verdict is a p below 0.05 over the number of comparisons, which is Holm's correction counted in full.
"""

import argparse
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustkd.evaluation.crossed import Variances, balanced_variances, p_value
from robustkd.evaluation.power import MAX_SEEDS, POWER, Spread, power, seeds_needed
from robustkd.evaluation.significance import ALPHA, MIN_SEEDS, holm, paired_t_test, sign_flip_test

CLASSES = 10
CELLS = 4_000_000  # of the arrays that are in memory at once
Draw = Callable[[np.random.Generator, tuple[int, ...]], NDArray[np.float64]]


class Setting(NamedTuple):
    """A kind of study.

    Attributes:
        effects: draws a_ms in units of `seeds`, with mean 0 and variance 1; of the baseline, then of the methods.
        seeds: the standard deviation of the effect of training on a network's accuracy.
        suits: w, how much a method suits an image or not.
        common: the standard deviation of what all methods of a seed share.
        draw: the standard deviation of what a method has in all seeds that share one draw of the scenario.
        hard: h, the share of images.
        images: N.
        methods: M.
        gain: the true difference of every method, or of each (M, 1).
        group: how many images of a class suit a method alike, as those of a patient or a video.
        grouped: whether the test is told of these groups.
    """

    effects: tuple[Draw, Draw]
    seeds: float = 0.004
    suits: float = 0.3
    common: float = 0.0
    draw: float = 0.0
    hard: float = 0.06
    images: int = 450
    methods: int = 2
    gain: float | NDArray[np.float64] = 0.0
    group: int = 1
    grouped: bool = True

    @property
    def groups(self) -> NDArray[np.int64]:
        """The group of each image, which has images of one class (N,)."""
        image = np.arange(self.images)
        return image // CLASSES // self.group * CLASSES + image % CLASSES


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Draw normal effects."""
    return rng.normal(size=shape)


def heavy(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Draw effects of Student's t distribution with 3 degrees of freedom."""
    return rng.standard_t(3, size=shape) / np.sqrt(3)


def skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Draw effects of an exponential distribution: a method fails in some seeds."""
    return 1 - rng.exponential(size=shape)


SETTINGS = {
    "normal": Setting((normal, normal)),
    "no image effects": Setting((normal, normal), suits=0.0),
    "image effects of 0.65 points": Setting((normal, normal), seeds=0.001, suits=0.4),
    "seeds vary more than images": Setting((normal, normal), seeds=0.01, hard=0.2, suits=0.05),
    "ten methods": Setting((normal, normal), methods=10),
    "grid ties (100 images)": Setting((normal, normal), images=100, seeds=0.002),
    "correlated seeds": Setting((normal, normal), common=0.01),
    "heavy tails": Setting((heavy, heavy), seeds=0.006),
    "skew of methods": Setting((normal, skewed), seeds=0.006),
    "strong skew of methods": Setting((normal, skewed), seeds=0.02, hard=0.2, suits=0.0),
    "2,000 images": Setting((normal, normal), images=2000, seeds=0.006, suits=0.4),
    "one shared draw (conditional)": Setting((normal, normal), draw=0.005),
    "groups of ten images": Setting((normal, normal), images=2000, hard=0.2, group=10),
    "groups of ten images, as if independent": Setting(
        (normal, normal), images=2000, hard=0.2, group=10, grouped=False
    ),
}
GAINS = (1.0, 2.0, 5.0)  # points
# In points; such spreads were measured.
SPREADS = tuple(Spread(seeds, images) for seeds in (0.9, 2.7) for images in (0.0, 0.25, 0.5))
COMPARISONS = (2, 28)
NUMBERS_OF_SEEDS = (5, 10, 20)
WITHIN = 0.5  # share of the variance over seeds that is that of seeds and images together
IMAGES = 450


def draw_differences(rng: np.random.Generator, setting: Setting, studies: int, n: int) -> NDArray[np.float64]:
    """Draw differences in correctness from the baseline: (studies, M, n, N)."""
    s, hard = setting, round(setting.hard * setting.images)
    of_baseline, of_methods = s.effects
    effect = s.seeds * np.concatenate(
        [of_baseline(rng, (studies, 1, n)), of_methods(rng, (studies, s.methods, n))], axis=1
    )
    effect += s.common * rng.normal(size=(studies, 1, n)) + s.draw / np.sqrt(2) * rng.normal(
        size=(studies, 1 + s.methods, 1)
    )
    effect[:, 1:] += s.gain
    groups = s.groups[:hard]
    suits = s.suits * rng.choice([-1, 1], size=(studies, 1 + s.methods, 1, groups.max() + 1))[..., groups]
    right = rng.random((studies, 1 + s.methods, n, hard)) < 0.5 + suits + (effect / s.hard)[..., None]
    differences = np.zeros((studies, s.methods, n, s.images))
    differences[..., :hard] = right[:, 1:].astype(np.float64) - right[:, :1]
    return differences


def simulate(setting: Setting, n: int, studies: int, seed: int = 0) -> dict[str, float]:
    """Return how often studies show a difference, by test, and their mean standard errors in points."""
    rng, labels = np.random.default_rng(seed), np.arange(setting.images) % CLASSES
    groups = setting.groups if setting.grouped and setting.group > 1 else None
    size = max(1, CELLS // (setting.methods * n * setting.images))
    parts = []
    for first in range(0, studies, size):
        d = draw_differences(rng, setting, min(size, studies - first), n)
        by_seed, variances = balanced_variances(d, labels, groups)
        p = p_value(by_seed.mean(axis=-1), variances, n)
        over_seeds = paired_t_test(by_seed.reshape(-1, n).T).p.reshape(p.shape)
        errors = (np.sqrt(value) for value in (variances.seed, variances.images_alone, variances.within))
        parts.append([np.stack([p, over_seeds, by_seed.mean(axis=-1), *errors]), by_seed])
    values, by_seed = (np.concatenate([part[place] for part in parts], axis=axis) for place, axis in ((0, 1), (1, 0)))
    p, over_seeds, mean, *errors = values
    found = {"crossed": p, "seeds": over_seeds}
    counted = (mean > 0) | (setting.gain == 0)  # of a true gain, a loss is no finding
    shown = (p < ALPHA) & counted
    confirmed = sign_flip_test(by_seed[shown].T) < ALPHA if shown.any() else np.array([])
    return {
        **{f"{name}, a comparison": float(((x < ALPHA) & counted).mean()) for name, x in found.items()},
        **{f"{name}, a study": float(np.mean([holm(row).min() < ALPHA for row in x])) for name, x in found.items()},
        "confirmed by sign flips": float(confirmed.sum() / p.size),
        **{f"se {name}": 100 * float(x.mean()) for name, x in zip(("seeds", "images", "within"), errors, strict=True)},
    }


def tabulate_errors(studies: int) -> pd.DataFrame:
    """Return the error of verdicts in each setting at 5 and 10 seeds."""
    lines = []
    for name, setting in SETTINGS.items():
        for n in (5, 10):
            lines.append({"setting": name, "seeds": n, **simulate(setting, n, studies)})
            print(lines[-1], flush=True)
    return pd.DataFrame(lines)


def draw_variances(rng: np.random.Generator, spread: Spread, n: int, studies: int) -> Variances:
    """Draw the estimates of variance of studies over n seeds, as their mean squares are distributed: (studies,) each."""
    degrees = IMAGES - CLASSES
    seed, within = spread.seeds**2 / n, WITHIN * spread.seeds**2 / n
    return Variances(
        seed * rng.chisquare(n - 1, studies) / (n - 1),
        (spread.images**2 + within) * rng.chisquare(degrees, studies) / degrees,
        within * rng.chisquare((n - 1) * degrees, studies) / ((n - 1) * degrees),
    )


def simulate_power(gain: float, spread: Spread, n: int, comparisons: int, studies: int, seed: int = 0) -> float:
    """Return the share of studies whose test over seeds and images finds a true gain."""
    rng = np.random.default_rng(seed)
    mean = gain + np.sqrt(spread.seeds**2 / n + spread.images**2) * rng.normal(size=studies)
    p = p_value(mean, draw_variances(rng, spread, n, studies), n)
    return float(((p < ALPHA / comparisons) & (mean > 0)).mean())


def find_seeds(gain: float, spread: Spread, comparisons: int, studies: int) -> float:
    """Return the fewest seeds with which a true gain is found in 80 % of simulated studies; NaN if there are none."""
    low, high = MIN_SEEDS - 1, MAX_SEEDS
    if simulate_power(gain, spread, high, comparisons, studies) < POWER:
        return np.nan
    while high - low > 1:
        middle = (low + high) // 2
        enough = simulate_power(gain, spread, middle, comparisons, studies) >= POWER
        low, high = (low, middle) if enough else (middle, high)
    return high


def tabulate_power(studies: int) -> pd.DataFrame:
    """Return how often true gains are found, simulated and by the formula of dry runs, and the seeds that they take."""
    lines = []
    for comparisons, spread, gain in itertools.product(COMPARISONS, SPREADS, GAINS):
        found = {f"{n} seeds": simulate_power(gain, spread, n, comparisons, studies) for n in NUMBERS_OF_SEEDS}
        found |= {f"{n} seeds, formula": power(gain, n, spread, comparisons) for n in NUMBERS_OF_SEEDS}
        needed = {
            "seeds for 80 %": find_seeds(gain, spread, comparisons, studies),
            "seeds for 80 %, formula": seeds_needed(gain, spread, comparisons),
        }
        lines.append({"comparisons": comparisons, **spread._asdict(), "gain": gain, **found, **needed})
        print(lines[-1], flush=True)
    return pd.DataFrame(lines)


class Design(NamedTuple):
    """Seeds for all methods, then more for the best of them.

    Attributes:
        first: seeds of all methods and the baseline.
        finalists: how many of the methods get more; 0 for none.
        more: seeds that these and the baseline get.
        fresh: whether the verdict is by these seeds alone, over the finalists only, instead of by all seeds over all methods.
    """

    first: int
    finalists: int = 0
    more: int = 0
    fresh: bool = False

    def count_runs(self, methods: int) -> int:
        """Return the number of trainings of students."""
        return (methods + 1) * self.first + (self.finalists + 1) * self.more * (self.finalists > 0)


DESIGNS = {
    "7 seeds for all": Design(7),
    "5 for all, then 3 methods to 20": Design(5, 3, 15),
    "5 for all, then 3 methods with 15 fresh": Design(5, 3, 15, fresh=True),
    "5 for all, then 3 methods with 20 fresh": Design(5, 3, 20, fresh=True),
}


def simulate_design(design: Design, gain: float, spread: Spread, methods: int, studies: int, seed: int = 0) -> float:
    """Return how often one method with a true gain among idle ones is called better; without a gain, how often any is.

    The methods share their baseline: half of the variance of a difference, over seeds and over images, is the baseline's.
    """
    rng, total = np.random.default_rng(seed), design.first + design.more
    own, baseline = rng.normal(size=(studies, methods, total)), rng.normal(size=(studies, 1, total))
    images = (rng.normal(size=(studies, methods, 1)) + rng.normal(size=(studies, 1, 1))) * spread.images / np.sqrt(2)
    values = (own + baseline) * spread.seeds / np.sqrt(2) + images
    values[:, 0] += gain
    judged = values[..., design.first :] if design.fresh else values
    order = values[..., : design.first].mean(axis=-1).argsort(axis=1)[:, ::-1]
    chosen = order[:, : design.finalists or methods]
    judged = np.take_along_axis(judged, chosen[..., None], axis=1)
    n, mean = judged.shape[-1], judged.mean(axis=-1)
    drawn = draw_variances(rng, spread, n, mean.size)
    image, within = (part.reshape(mean.shape) for part in (drawn.image, drawn.within))
    p = p_value(mean, Variances(judged.var(axis=-1, ddof=1) / n, image, within), n)
    others = 0 if design.fresh else methods - chosen.shape[1]  # methods that stay among the comparisons
    corrected = np.stack([holm([*row, *np.ones(others)])[: chosen.shape[1]] for row in p])
    better = (corrected < ALPHA) & (mean > 0) & ((chosen == 0) | (gain == 0))
    return float(better.any(axis=1).mean())


def tabulate_designs(studies: int) -> pd.DataFrame:
    """Return the power of designs for one gain of a point among 28 methods, their error without any gain, and their runs."""
    lines = []
    for spread in (Spread(0.9), Spread(0.9, 0.25)):
        for name, design in DESIGNS.items():
            shares = {
                what: simulate_design(design, gain, spread, 28, studies) for what, gain in (("power", 1), ("error", 0))
            }
            lines.append({"design": name, **spread._asdict(), "runs": design.count_runs(28), **shares})
            print(lines[-1], flush=True)
    return pd.DataFrame(lines)


TABLES = {"error": tabulate_errors, "power": tabulate_power, "extend": tabulate_designs}


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=tuple(TABLES))
    parser.add_argument("--studies", type=int, default=10_000)
    parser.add_argument("--to", type=Path, required=True, help="a CSV file")
    given = parser.parse_args(words)
    TABLES[given.what](given.studies).to_csv(given.to, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
