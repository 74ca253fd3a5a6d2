"""The parts of `robustkd select` in simulation: its error, its power, its score, and what its race finds at which cost.

    python benchmarks/selection.py null --to selection-null.csv               # 5,000 confirmations of idle finalists
    python benchmarks/selection.py sequential --to selection-sequential.csv   # error and power over the looks
    python benchmarks/selection.py score --to selection-score.csv             # ranking by labels as noisy as those of training
    python benchmarks/selection.py grid --to selection-grid.csv               # races in grids with recorded means and spreads

Networks are simulated by a probit model: one of accuracy A is right on row i if a + sqrt(0.8) u_i + sqrt(0.1) b_mi + sqrt(0.1)
e_msi > 0, where u_i is how easy the row is, b_mi how much it suits method m, e_msi is drawn by each training, and a makes the
mean A. Grids have the means and standard deviations over seeds of benchmarks/sweep.csv, taken for the truth. Curves are not
recorded there, so they are simulated: at a share x of the schedule, the differences of methods from their mean have the
correlation 1 / sqrt(1 + 6 (1 - x)^2.5) with those at the end. That is 0.51 at a quarter, 0.71 at half and 0.92 at three
quarters, close to those over the ten methods of three studies of digits (0.28 to 0.67, 0.46 to 0.88, 0.86 to 0.96).
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from verdicts import SETTINGS, Setting, draw_differences

from robustkd.evaluation.crossed import balanced_variances, p_value
from robustkd.selection.budget import Costs, Search, plan_search, race_cost, screening_rungs, with_places
from robustkd.selection.confirm import level_of
from robustkd.selection.race import Rung, judge_rung
from robustkd.selection.score import weighted_correctness
from robustkd.selection.sequential import planned_looks

HOME = Path(__file__).parent
Array = NDArray[np.float64]
CLASSES, HELD_OUT, IMAGES = 10, 135, 450  # as in the study of digits
LOOKS = planned_looks(20)
COMMON, SUITS, OWN = 0.8, 0.1, 0.1  # shares of the variance of a row
BATCH = 50  # studies that are in memory at once
SCREENED = 14  # half of 28 methods


# --- the confirmation ---------------------------------------------------------------------------------------------------


def confirm(by_seed: Array, p: Sequence[Array], finalists: int, both: bool) -> tuple[Array, Array]:
    """Return whether each contender is found better (or worse, if `both`), and the seeds that are trained: (studies, entrants).

    Args:
        by_seed: differences (studies, entrants, n) of all looks' seeds; the first of them are those of the screening.
        p: at each look (studies, entrants).
    """
    shape = by_seed.shape[:2]
    found, seeds, going = np.zeros(shape, bool), np.full(shape, LOOKS[-1]), np.ones(shape, bool)
    for rung in screening_rungs(shape[1], finalists):
        mean = np.where(going, by_seed[..., : rung.seeds].mean(axis=-1), -np.inf)
        kept = mean.argsort(axis=1).argsort(axis=1) >= shape[1] - rung.places
        seeds[going & ~kept] = rung.seeds
        going = kept
    for look, at_look in zip(LOOKS, p, strict=True):
        mean = by_seed[..., :look].mean(axis=-1)
        shown = at_look <= level_of(LOOKS, look, shape[1])
        stops = going & (shown if both else (mean <= 0) | shown)
        found |= going & shown & (both | (mean > 0))
        seeds[stops] = np.minimum(seeds[stops], look)
        going &= ~stops
    return found, seeds


def simulate_confirmation(
    setting: Setting, entrants: int, finalists: int, studies: int, both: bool, seed: int = 0
) -> tuple[Array, Array]:
    """Return what `confirm` does, over studies with test images."""
    rng, labels, parts = np.random.default_rng(seed), np.arange(setting.images) % CLASSES, []
    for first in range(0, studies, BATCH):
        differences = draw_differences(rng, setting._replace(methods=entrants), min(BATCH, studies - first), LOOKS[-1])
        by_seed = balanced_variances(differences, labels)[0]
        p = []
        for look in LOOKS:
            variances = balanced_variances(differences[..., :look, :], labels)[1]
            p.append(p_value(by_seed[..., :look].mean(axis=-1), variances, look))
        parts.append(confirm(by_seed, p, finalists, both))
    found, seeds = (np.concatenate([part[place] for part in parts]) for place in (0, 1))
    return found, seeds


def simulate_over_seeds(
    gain: Array | float, sd: float, entrants: int, finalists: int, studies: int, both: bool
) -> tuple[Array, Array]:
    """Return what `confirm` does where images add nothing: Student's t test over seeds. In points.

    Plain training, with which all are compared, has the same spread over seeds as each of them.
    """
    effects = np.random.default_rng(0).normal(size=(studies, 1 + entrants, LOOKS[-1])) * sd / np.sqrt(2)
    by_seed = gain + effects[:, 1:] - effects[:, :1]
    p = [stats.ttest_1samp(by_seed[..., :look], 0, axis=-1).pvalue for look in LOOKS]
    return confirm(by_seed, p, finalists, both)


def tabulate_sequential(studies: int) -> pd.DataFrame:
    """Return the error of the confirmation, and the power for true gains in points.

    Of one finalist, of three, and of the three that the screening of 14 leaves, of which only one gains.
    """
    lines = []
    for entrants, finalists in ((1, 1), (3, 3), (SCREENED, 3)):
        who_gains = np.ones((entrants, 1)) if entrants == finalists else np.eye(entrants)[:, :1]
        for gain in (0.0, 0.5, 1.0, 2.0):
            many = (250 if entrants == finalists else 50) * studies
            found, seeds = simulate_over_seeds(gain * who_gains, 0.9, entrants, finalists, many, both=gain == 0)
            lines.append(summarise_findings("over seeds, sd 0.9", finalists, gain, found, seeds))
        for name in ("normal", "image effects of 0.65 points", "heavy tails", "strong skew of methods"):
            found, seeds = simulate_confirmation(SETTINGS[name], entrants, finalists, studies, both=True)
            lines.append(summarise_findings(name, finalists, 0.0, found, seeds))
        for gain in (1.0, 2.0):
            setting = SETTINGS["2,000 images"]._replace(gain=gain / 100 * who_gains)
            found, seeds = simulate_confirmation(setting, entrants, finalists, studies, both=False)
            lines.append(summarise_findings("2,000 images", finalists, gain, found, seeds))
    return pd.DataFrame(lines)


def summarise_findings(setting: str, finalists: int, gain: float, found: Array, seeds: Array) -> dict[str, object]:
    """Return a line: of a gain of 0, the error in both directions; of others, the power of each contender that gains.

    The seeds are those of the finalists, on average, and of the runs of the screening that are not among them.
    """
    entrants = found.shape[1]
    gains = found[:, :1] if gain and entrants > finalists else found
    line = {
        **{"setting": setting, "screened": entrants, "finalists": finalists, "gain": gain, "studies": len(found)},
        **{"a finalist": float(gains.mean()), "any finalist": float(found.any(axis=1).mean())},
        "mean seeds": float(seeds.sum(axis=1).mean() / finalists),
    }
    print(line, flush=True)
    return line


def tabulate_null(studies: int) -> pd.DataFrame:
    """Return how often an idle finalist is called better than plain training: of three, and of three of 14 that are screened.

    Fresh seeds and the test set make it independent of the race, so that no race is drawn.
    """
    lines = []
    for entrants in (3, SCREENED):
        for name in ("normal", "image effects of 0.65 points", "heavy tails"):
            found, seeds = simulate_confirmation(SETTINGS[name], entrants, 3, studies, both=False)
            lines.append(summarise_findings(name, 3, 0.0, found, seeds))
    return pd.DataFrame(lines)


# --- the score ----------------------------------------------------------------------------------------------------------


def draw_correct(rng: np.random.Generator, accuracy: Array, rows: int, easy: Array, suits: Array) -> NDArray[np.bool_]:
    """Draw which rows networks are right on, by their true labels: accuracies (m, n) -> (m, n, rows)."""
    own = rng.normal(size=(*accuracy.shape, rows)) * np.sqrt(OWN)
    level = stats.norm.ppf(np.clip(accuracy, 1e-4, 1 - 1e-4))[..., None]
    right: NDArray[np.bool_] = level + easy + suits[:, None] + own > 0
    return right


def predict(rng: np.random.Generator, right: NDArray[np.bool_], truth: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return predicted classes: the true one where a network is right, else, in half, a class that depends on the row."""
    confused = (truth + rng.integers(1, CLASSES, truth.shape)) % CLASSES
    other = (truth + rng.integers(1, CLASSES, right.shape)) % CLASSES
    wrong = np.where(rng.random(right.shape) < 0.5, confused, other)
    return np.where(right, truth, wrong)


def corrupt(rng: np.random.Generator, truth: NDArray[np.int64], rate: float, kind: str) -> NDArray[np.int64]:
    """Return labels with noise: to any other class (`symmetric`) or to the next (`pair`)."""
    step = np.ones(truth.shape, np.int64) if kind == "pair" else rng.integers(1, CLASSES, truth.shape)
    return np.where(rng.random(truth.shape) < rate, (truth + step) % CLASSES, truth)


def by_accuracy(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> Array:
    """Score by accuracy on the labels as given: (m, N) -> (m,)."""
    return (predicted == labels).mean(axis=1)


def by_balanced_accuracy(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> Array:
    """Score as the race does."""
    return np.stack([weighted_correctness(each[None], labels).mean() for each in predicted])


def by_agreement(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> Array:
    """Score by the class that most networks predict, in place of the label."""
    return by_balanced_accuracy(predicted, _majority(predicted))


def by_agreeing_rows(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> Array:
    """Score on the rows whose label at least a fifth of the networks predict."""
    kept = (predicted == labels).mean(axis=0) >= 0.2
    return by_balanced_accuracy(predicted[:, kept], labels[kept])


def _majority(predicted: NDArray[np.int64]) -> NDArray[np.int64]:
    counts = (predicted[:, None] == np.arange(CLASSES)[:, None]).sum(axis=0)
    return counts.argmax(axis=0)


SCORES: dict[str, Callable[[NDArray[np.int64], NDArray[np.int64]], Array]] = {
    "accuracy": by_accuracy,
    "balanced accuracy": by_balanced_accuracy,
    "agreement": by_agreement,
    "rows that some agree with": by_agreeing_rows,
}


def tabulate_scores(draws: int) -> pd.DataFrame:
    """Return how well 28 networks of accuracies around 0.75 are ranked by each score, by noise and number of held-out rows."""
    lines = []
    for kind, rate in (("symmetric", 0.0), ("symmetric", 0.2), ("symmetric", 0.4), ("pair", 0.2), ("pair", 0.4)):
        for ratio in (1.0, 0.1):
            for rows in (135, 1000):
                lines += _rank_by_scores(kind, rate, ratio, rows, draws)
    return pd.DataFrame(lines)


def _rank_by_scores(kind: str, rate: float, ratio: float, rows: int, draws: int) -> list[dict[str, object]]:
    rng, found = np.random.default_rng(0), {name: [] for name in SCORES}
    sizes = ratio ** (np.arange(CLASSES) / (CLASSES - 1))
    for _ in range(draws):
        truth = rng.choice(CLASSES, rows, p=sizes / sizes.sum())
        accuracy = np.clip(0.75 + 0.03 * rng.normal(size=28), 0.3, 0.99)
        easy, suits = np.sqrt(COMMON) * rng.normal(size=rows), np.sqrt(SUITS) * rng.normal(size=(28, rows))
        predicted = predict(rng, draw_correct(rng, accuracy[:, None], rows, easy, suits)[:, 0], truth)
        labels = corrupt(rng, truth, rate, kind)
        for name, score in SCORES.items():
            values = score(predicted, labels)
            rank = stats.spearmanr(values, accuracy).statistic
            best = set(np.argsort(-values)[:3])
            found[name].append((rank, accuracy.max() - accuracy[values.argmax()], accuracy.argmax() in best))
    lines: list[dict[str, object]] = []
    for name, values in found.items():
        rank, regret, kept = np.array(values, float).mean(axis=0)
        setting = {"noise": f"{kind} {rate:g}", "smallest class": ratio, "rows": rows, "score": name}
        lines.append({**setting, "rank correlation": rank, "regret": 100 * regret, "best among three": kept})
        print(lines[-1], flush=True)
    return lines


# --- races in recorded grids ----------------------------------------------------------------------------------------------


class Grid:
    """Methods with their mean accuracies and standard deviations over seeds, and the noise of the labels.

    Args:
        drift: factor of the variance of what changes over the schedule.
    """

    def __init__(self, mean: Array, sd: Array, noise: float, drift: float = 6.0) -> None:
        self.mean, self.sd, self.noise, self.drift = mean, sd, noise, drift


def recorded_grids(drift: float = 6.0) -> dict[str, Grid]:
    """Return the grids of benchmarks/sweep.csv: what is compared with plain training, by scenario."""
    table = pd.read_csv(HOME / "sweep.csv")
    table = table[~table["method"].str.contains(",|^teacher$|^baseline$|oracle|clean_teacher")]
    grids = {}
    for scenario, lines in table.groupby("scenario", sort=False):
        noise = 0.4 if "0.4" in str(scenario) else 0.2 if "noise0.2" in str(scenario) else 0.0
        grids[str(scenario)] = Grid(lines["mean"].to_numpy(), lines["std"].to_numpy(), noise, drift)
    return grids


class Trainings:
    """The held-out rows that the networks of a race are right on, drawn once for each method, seed and share.

    Args:
        grid: whose methods are trained.
        seeds: how many.
    """

    def __init__(self, grid: Grid, seeds: int, seed: int) -> None:
        self.grid, self.rng, m = grid, np.random.default_rng(seed), len(grid.mean)
        rng = self.rng
        self.truth = np.arange(HELD_OUT) % CLASSES
        self.easy = np.sqrt(COMMON) * rng.normal(size=HELD_OUT)
        self.suits = np.sqrt(SUITS) * rng.normal(size=(m, HELD_OUT))
        self.effect = grid.sd[:, None] * rng.normal(size=(m, seeds))
        middle = np.subtract(*np.quantile(grid.mean, [0.75, 0.25])) / 1.349  # a standard deviation without outliers
        self.drift = np.sqrt(grid.drift) * middle * rng.normal(size=m)
        self.labels = np.stack([corrupt(rng, self.truth, grid.noise, "symmetric") for _ in range(seeds)])

    def correct(self, share: float, seeds: int) -> Array:
        """Return weighted correctness by the labels as given, at a share of the schedule: (m, seeds, rows)."""
        accuracy = self.grid.mean[:, None] + self.effect[:, :seeds] + ((1 - share) ** 1.25 * self.drift)[:, None]
        right = draw_correct(self.rng, accuracy, HELD_OUT, self.easy, self.suits)
        predicted = predict(self.rng, right, self.truth)
        parts = [
            np.stack([weighted_correctness(each[None], self.labels[s]) for each in predicted[:, s]])
            for s in range(seeds)
        ]
        return np.stack(parts, axis=1)


def simulate_race(grid: Grid, rungs: Sequence[Rung], seed: int) -> list[int]:
    """Return the finalists of a race, the leader first."""
    trainings, running = Trainings(grid, max(rung.seeds for rung in rungs), seed), list(range(len(grid.mean)))
    for rung in rungs:
        correct = trainings.correct(rung.share, rung.seeds)
        decided = judge_rung({str(i): list(correct[i]) for i in running}, rung.places, is_partial=rung.share < 1)
        running = [int(standing.contender) for standing in decided if standing.kept]
    return running


def simulate_screening(grid: Grid, search: Search, seed: int) -> list[int]:
    """Return the three that a race and the screening of those it leaves find."""
    left, rng = np.array(simulate_race(grid, search.rungs, seed)), np.random.default_rng(seed + 10**7)
    rungs = screening_rungs(len(left), 3)
    by_seed = grid.mean[left, None] + grid.sd[left, None] * rng.normal(size=(len(left), len(rungs)))
    by_seed += FINAL_IMAGES / np.sqrt(2) * rng.normal(size=(len(left), 1))  # of the images, which all seeds share
    for rung in rungs:
        best = np.argsort(-by_seed[:, : rung.seeds].mean(axis=1))[: rung.places]
        left, by_seed = left[best], by_seed[best]
    return [int(method) for method in left]


def simulate_halving(grid: Grid, rungs: Sequence[Rung], seed: int) -> list[int]:
    """Return the finalists of successive halving, which keeps the best by score alone."""
    trainings, running = Trainings(grid, max(rung.seeds for rung in rungs), seed), list(range(len(grid.mean)))
    for rung in rungs:
        score = trainings.correct(rung.share, rung.seeds).mean(axis=(1, 2))
        running = sorted(running, key=lambda i: -score[i])[: rung.places]
    return running


def simulate_random_search(grid: Grid, runs: float, seed: int) -> list[int]:
    """Return the best three by held-out score of as many random methods as the cost pays for, with one or two whole runs."""
    m = len(grid.mean)
    seeds = int(np.ceil(runs / m))
    trainings = Trainings(grid, seeds, seed)
    tried = trainings.rng.permutation(m)[: max(3, int(runs / seeds))]
    score = trainings.correct(1.0, seeds).mean(axis=(1, 2))
    return sorted(tried, key=lambda i: -score[i])[:3]


BUDGETS = {
    0.15: ((0.5, 1, 14), (1.0, 1, 3)),
    0.3: ((0.5, 2, 14), (1.0, 2, 3)),
}  # shares of 5 seeds; halving at that cost
RUNGS = with_places(((0.5, 1), (1.0, 1)), 28, 3, 0.5)
FINAL_SEEDS, FINAL_IMAGES = 20, 0.004  # of the confirmation, whose images add a standard error of 0.4 points


def tabulate_grids(races: int) -> pd.DataFrame:
    """Return cost and regret of the race, of halving and of random search, by scenario."""
    lines = []
    for share, halving in BUDGETS.items():
        for scenario, grid in recorded_grids().items():
            m = len(grid.mean)
            runs = share * 5 * m
            costs = Costs({str(i): 1.0 for i in range(m)}, 0.0, 1.0)
            search, alone = plan_search(costs, 3, runs), plan_search(costs, 3, runs, screened=0)
            halves = tuple(Rung(*rung) for rung in halving)
            searches = {
                "race and screening": (search.race + search.screening, partial(simulate_screening, grid, search)),
                "race": (alone.race, partial(simulate_race, grid, alone.rungs)),
                "halving": (race_cost(halves, costs), partial(simulate_halving, grid, halves)),
                "random search": (runs, partial(simulate_random_search, grid, runs)),
                "random choice": (0.0, partial(_choose_at_random, m)),
            }
            for name, (cost, search) in searches.items():
                regrets = np.array([_regrets(grid, search(seed), seed) for seed in range(races)])
                lines.append(
                    {
                        **{"scenario": scenario, "budget": share, "search": name, "methods": m},
                        **{"share of 5 seeds": cost / (5 * m), "regret of the finalists": 100 * regrets[:, 0].mean()},
                        **{"regret of the winner": 100 * regrets[:, 1].mean()},
                        "winners within 0.5 points": float((regrets[:, 1] <= 0.005).mean()),
                    }
                )
                print(lines[-1], flush=True)
    return pd.DataFrame(lines)


def _choose_at_random(methods: int, seed: int) -> list[int]:
    return [int(i) for i in np.random.default_rng(seed).permutation(methods)[:3]]


def _regrets(grid: Grid, finalists: Sequence[int], seed: int) -> tuple[float, float]:
    """Return by how much the best finalist, and the one with the best mean on the test set, is behind the grid's best."""
    rng, true = np.random.default_rng(seed + 10**6), grid.mean[list(finalists)]
    spread = np.sqrt(grid.sd[list(finalists)] ** 2 / FINAL_SEEDS + FINAL_IMAGES**2 / 2)
    chosen = int((true + spread * rng.normal(size=len(true))).argmax())
    return float(grid.mean.max() - true.max()), float(grid.mean.max() - true[chosen])


TABLES = {
    "null": (tabulate_null, 5_000),
    "sequential": (tabulate_sequential, 400),
    "score": (tabulate_scores, 100),
    "grid": (tabulate_grids, 100),
}


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=tuple(TABLES))
    parser.add_argument("--draws", type=int, help="studies, races or draws of each setting")
    parser.add_argument("--to", type=Path, required=True, help="a CSV file")
    given = parser.parse_args(words)
    tabulate, draws = TABLES[given.what]
    tabulate(given.draws or draws).to_csv(given.to, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
