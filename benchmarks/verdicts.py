"""The error and the power of verdicts over seeds and test images, in simulated studies.

    python benchmarks/verdicts.py error --to verdicts-error.csv     # 10,000 studies per setting without any effect
    python benchmarks/verdicts.py power --to verdicts-power.csv     # true differences at the spreads that were seen

A study compares M methods with one baseline over n seeds on N test images of ten classes. A share h of the images is hard: on
these a network of method m and seed s is right with probability 1/2 + w_mi + a_ms / h, where a_ms is the effect of training
on the accuracy and w_mi = +-w says that a method suits an image or not; on all other images all are right. Both have mean 0,
so that no method has an effect over all seeds and images, but each has one on the images of this test set. Columns: the share
of comparisons with p < 0.05, and of studies in which Holm's correction leaves any difference; by `crossed`, the test of
verdicts, by Student's t test over seeds alone (`seeds`), and the share of comparisons in which the sign-flip test is below
0.05 too (`confirmed`).
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustkd.evaluation.crossed import balanced_variances, p_value
from robustkd.evaluation.significance import ALPHA, holm, paired_t_test, sign_flip_test

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
        gain: the true difference of every method.
    """

    effects: tuple[Draw, Draw]
    seeds: float = 0.004
    suits: float = 0.3
    common: float = 0.0
    draw: float = 0.0
    hard: float = 0.06
    images: int = 450
    methods: int = 2
    gain: float = 0.0


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
}
GAINS = (0.01, 0.02, 0.05)


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
    suits = s.suits * rng.choice([-1, 1], size=(studies, 1 + s.methods, 1, hard))
    right = rng.random((studies, 1 + s.methods, n, hard)) < 0.5 + suits + (effect / s.hard)[..., None]
    differences = np.zeros((studies, s.methods, n, s.images))
    differences[..., :hard] = right[:, 1:].astype(np.float64) - right[:, :1]
    return differences


def simulate(setting: Setting, n: int, studies: int, seed: int = 0) -> dict[str, float]:
    """Return how often studies show a difference, by test, and their mean standard errors in points."""
    rng, labels = np.random.default_rng(seed), np.arange(setting.images) % CLASSES
    size = max(1, CELLS // (setting.methods * n * setting.images))
    parts = []
    for first in range(0, studies, size):
        by_seed, variances = balanced_variances(draw_differences(rng, setting, min(size, studies - first), n), labels)
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


def tabulate_power(studies: int) -> pd.DataFrame:
    """Return how often true differences are found, in a study of two methods by its verdicts."""
    lines = []
    for name in ("no image effects", "normal", "2,000 images"):
        for gain in GAINS:
            for n in (5, 10, 20):
                setting = SETTINGS[name]._replace(gain=gain)
                lines.append({"setting": name, "gain": 100 * gain, "seeds": n, **simulate(setting, n, studies)})
                print(lines[-1], flush=True)
    return pd.DataFrame(lines)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("error", "power"))
    parser.add_argument("--studies", type=int, default=10_000)
    parser.add_argument("--to", type=Path, required=True, help="a CSV file")
    given = parser.parse_args(words)
    table = tabulate_errors(given.studies) if given.what == "error" else tabulate_power(given.studies)
    table.to_csv(given.to, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
