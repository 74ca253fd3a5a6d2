"""What the rules of early stopping lose by choosing an epoch on few held-out rows.

    python benchmarks/early_stopping.py studies/digits-noise0.4-*/ --to benchmarks/early-stopping.csv

Reads the accuracy by epoch of the runs of finished studies. A rule's epoch is compared by its test accuracy with the best epoch
of a run, which is that of the highest mean over three epochs, since single epochs are lucky on test rows too:

    recorded    the epochs that the recorded accuracies on held-out rows choose
    simulated   those that other held-out rows would: each row is answered correctly with the probability of the epoch's test
                accuracy (under label noise, of what is left of it by the study's own held-out accuracies), and the same rows
                are used at all epochs, so that their answers are correlated over epochs as the recorded ones are

Columns, in points of test accuracy over the runs of a study: `regret`, the mean loss; `sd`, the standard deviation of the
chosen network's accuracy; `sd of choice`, simulated only: that over held-out rows for one run, the standard error of a choice.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from robustkd.study.early_stopping import WINDOWS
from robustkd.study.results import TEACHER, LoadedStudy, read_study

Curves = NDArray[np.float64]  # accuracy by epoch, the last dimension
SMOOTH = 3  # epochs of the mean by which the best epoch of a test curve is found


def moving_mean(curves: Curves, window: int) -> Curves:
    """Return the means over successive epochs, as many as the window or, in shorter runs, all: (..., T) -> (..., windows)."""
    window = min(window, curves.shape[-1])
    means: Curves = np.lib.stride_tricks.sliding_window_view(curves, window, axis=-1).mean(axis=-1)
    return means


def choose_best(held_out: Curves, window: int) -> NDArray[np.int64]:
    """Return the place of the chosen epoch by a moving mean of the held-out accuracies: (..., T) -> (...)."""
    means = moving_mean(held_out, window)
    return held_out.shape[-1] - means.shape[-1] + means.round(9).argmax(axis=-1)


RULES: dict[str, Callable[[Curves], NDArray[np.int64]]] = {
    **{rule: partial(choose_best, window=window) for rule, window in WINDOWS.items()},
    "mean of 5": partial(choose_best, window=5),
    "mean of 10": partial(choose_best, window=10),
    "last": lambda held_out: np.full(held_out.shape[:-1], held_out.shape[-1] - 1),
}


def row_correlation(held_out: Curves, rows: int) -> float:
    """Return how alike the answers to one row are at successive epochs: the correlation of the normal numbers behind them.

    Were the rows others at each epoch, the second differences of the accuracies would have 6 times their variance. Answers,
    about half of them right, are correlated by 2 / pi times the arcsine of the correlation of the numbers.
    """
    second = np.diff(held_out, n=2, axis=-1)
    p = held_out[..., 1:-1]
    of_answers = np.clip(1 - second.var() / (6 * (p * (1 - p)).mean() / rows), 0, 1)
    return float(np.sin(np.pi / 2 * of_answers))


def simulate_held_out(rng: np.random.Generator, p: Curves, rows: int, correlation: float, draws: int) -> Curves:
    """Draw accuracies on held-out rows: (T,) -> (draws, T).

    A row is answered correctly where a normal number is below the quantile of p; a part of the number is the row's own.
    """
    own = rng.normal(size=(draws, rows, 1)) * np.sqrt(correlation)
    score = own + rng.normal(size=(draws, rows, len(p))) * np.sqrt(1 - correlation)
    accuracies: Curves = (score < stats.norm.ppf(p)).mean(axis=1)
    return accuracies


def measure_study(study: LoadedStudy, draws: int, seed: int = 0) -> pd.DataFrame:
    """Return a line for each rule, over the students' runs of a study."""
    rng, rows = np.random.default_rng(seed), study.record.resolved.rows_held_out
    runs = [study.epochs[r.name] for r in study.results if r.run.role != TEACHER and r.name in study.epochs]
    epochs = min(len(run) for run in runs)
    runs = [run for run in runs if len(run) == epochs]
    test, held_out = (np.stack([run[key].to_numpy(float) for run in runs]) for key in ("accuracy", "held_out_accuracy"))
    best = moving_mean(test, SMOOTH).max(axis=-1)
    slope, offset = np.polyfit(test.ravel(), held_out.ravel(), 1)  # held-out labels are as noisy as the training labels
    share = row_correlation(held_out, rows)
    p = np.clip(offset + slope * test, 1e-3, 1 - 1e-3)
    simulated = np.stack([simulate_held_out(rng, each, rows, share, draws) for each in p])
    lines = []
    for name, rule in RULES.items():
        recorded = np.take_along_axis(test, rule(held_out)[:, None], axis=1)[:, 0]
        again = np.take_along_axis(test, rule(simulated), axis=1)
        lines.append(
            {
                **{"scenario": study.record.options.scenario, "student": study.record.options.student},
                **{"epochs": epochs, "runs": len(runs), "held-out rows": rows},
                **{"rule": name, "recorded regret": best.mean() - recorded.mean(), "recorded sd": recorded.std(ddof=1)},
                "simulated regret": best.mean() - again.mean(),
                "simulated sd of choice": np.sqrt(again.var(axis=1).mean()),
            }
        )
    table = pd.DataFrame(lines)
    points = [name for name in table if "regret" in name or "sd" in name]
    return table.assign(**{name: 100 * table[name] for name in points}, correlation=share)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", type=Path, nargs="+", help="folders of finished studies")
    parser.add_argument("--draws", type=int, default=500, help="of held-out rows, for each run")
    parser.add_argument("--to", type=Path, required=True, help="a CSV file")
    given = parser.parse_args(words)
    table = pd.concat([measure_study(read_study(folder), given.draws) for folder in given.studies])
    table.to_csv(given.to, index=False, float_format="%.3g")
    print(table.round(2).to_string(index=False))


if __name__ == "__main__":
    main()
