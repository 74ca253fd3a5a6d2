"""`robustkd select` on recorded grids: what its race would have found, at which cost, where everything was trained.

    python benchmarks/replay.py races benchmarks/results/digits/* --to benchmarks/replay-races.csv
    python benchmarks/replay.py ranking benchmarks/results/digits/* --to benchmarks/replay-ranking.csv
    python benchmarks/replay.py averages benchmarks/results/digits/* --to benchmarks/replay-averages.csv

A grid is a packed study (benchmarks/packed.py) with the held-out predictions of every epoch. A race takes its seeds from the
grid's, in every order of the first two, and sees held-out rows only. The finalists and plain training are then compared on the
test set with the seeds that had no part in the race, and the one with the highest mean is the winner. Its regret is by how much
its mean over all seeds is below the highest in the grid. That highest mean is favoured by chance, so that even a search
that trains every method with every remaining seed has a regret: it is the row `all methods`.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from packed import HeldOut, read_held_out, read_packed
from scipy import stats
from selection import SCORES

from robustkd.evaluation.results import NetMetrics
from robustkd.selection.budget import Costs, plan_race, race_cost
from robustkd.selection.race import Rung, judge_rung, score_rows, window
from robustkd.study.pairing import HEADLINE
from robustkd.study.progress import RunProgress
from robustkd.study.results import BASELINE, TEACHER, RunResult
from robustkd.study.stopping import epochs_of_share

Array = NDArray[np.float64]
FINALISTS = 3
CLOSE = 0.005  # balanced accuracy within which a winner is as good as the grid's best


class Recorded(NamedTuple):
    """A run of a grid, with the labels of its held-out rows (N,)."""

    result: RunResult
    progress: RunProgress
    labels: NDArray[np.int64]

    def epochs(self, share: float) -> int:
        """Return the epochs that a share of the schedule has."""
        return epochs_of_share(share, self.progress.total)

    def score_rows(self, share: float, from_start: bool = False) -> Array:
        """Return what the race judges after a share of the schedule."""
        return score_rows(self.progress.held_out, self.labels, self.epochs(share), from_start)

    def seconds(self, share: float) -> float:
        """Return the seconds of training of a share of the schedule."""
        return float(self.progress.history["seconds"].iloc[self.epochs(share) - 1])


def _record(result: RunResult, history: pd.DataFrame, held_out: HeldOut) -> Recorded:
    progress = RunProgress(history, len(history), history["phase"].nunique(), held_out.predicted)
    return Recorded(result, progress, held_out.labels)


class Grid:
    """A study in which every method was trained with every seed.

    Attributes:
        contenders: its methods without plain training.
        runs: of students, by method and seed.
        teacher: seconds of training the teacher, by seed; 0 where none is.
        test: balanced accuracy on the test set (methods, seeds), plain training first.
    """

    def __init__(self, file: Path) -> None:
        study, held_out = read_packed(file)[0], read_held_out(file)
        students = [result for result in study.results if result.run.role != TEACHER]
        self.scenario, self.seeds = study.record.options.scenario, sorted({result.run.seed for result in students})
        self.runs = {
            (result.run.method, result.run.seed): _record(result, study.epochs[result.name], held_out[result.name])
            for result in students
        }
        teachers = [result for result in study.results if result.run.role == TEACHER]
        self.teacher = dict.fromkeys(self.seeds, 0.0)
        self.teacher |= {result.run.seed: result.training.seconds for result in teachers if result.training is not None}
        self.contenders = [method for method in study.record.methods if method != BASELINE]
        self.test = pd.DataFrame(
            {
                seed: [self.runs[method, seed].result.last.metrics[HEADLINE] for method in [BASELINE, *self.contenders]]
                for seed in self.seeds
            },
            index=[BASELINE, *self.contenders],
        ).astype(float)

    def cost(self, methods: Sequence[str], seeds: Sequence[int], share: float = 1.0) -> float:
        """Return the seconds of training methods and teachers with some seeds."""
        students = sum(self.runs[method, seed].seconds(share) for method in methods for seed in seeds)
        return students + sum(self.teacher[seed] for seed in seeds)

    @property
    def costs(self) -> Costs:
        """What training costs, as the plan of a race knows it."""

        def mean(method: str) -> float:
            return float(np.mean([self.runs[method, seed].seconds(1.0) for seed in self.seeds]))

        contenders = {method: mean(method) for method in self.contenders}
        return Costs(contenders, float(np.mean(list(self.teacher.values()))), mean(BASELINE))


class Found(NamedTuple):
    """The finalists of a search, the seconds that it took, and the seeds that it trained with."""

    finalists: list[str]
    seconds: float
    seeds: tuple[int, ...]


# --- searches -----------------------------------------------------------------------------------------------------------


def replay_race(grid: Grid, rungs: Sequence[Rung], order: Sequence[int], plain: bool = False) -> Found:
    """Return the finalists of a race.

    Args:
        order: the seeds, those of the race first.
        plain: whether only places and scores decide, as in plain halving: neither the noise nor, of equal scores, earlier ones.
    """
    running, seconds, before = list(grid.contenders), 0.0, Rung(0.0, 0, len(grid.contenders))
    for rung in rungs:
        trained = tuple(order[: rung.seeds])
        seconds += sum(
            grid.runs[method, seed].seconds(rung.share)
            - (grid.runs[method, seed].seconds(before.share) if place < before.seeds else 0.0)
            for method in running
            for place, seed in enumerate(trained)
        ) + sum(grid.teacher[seed] for seed in trained[before.seeds :])
        runs = {method: [grid.runs[method, seed] for seed in trained] for method in running}
        waiting = [m for m in running if not all(r.progress.is_in_last_phase(r.epochs(rung.share)) for r in runs[m])]
        judged = [method for method in running if method not in waiting]
        correct = {m: [run.score_rows(rung.share) for run in runs[m]] for m in judged}
        earlier = {m: float(np.mean([run.score_rows(rung.share, True) for run in runs[m]])) for m in judged}
        is_partial = rung.share < 1 or plain  # there the noise decides nothing
        decided = judge_rung(correct, rung.places, waiting, is_partial, None if plain else earlier)
        running, before = [standing.contender for standing in decided if standing.kept], rung
    return Found(running, seconds, tuple(order[: rungs[-1].seeds]))


def search_at_random(grid: Grid, budget: float, order: Sequence[int]) -> Found:
    """Return the best three, by held-out score, of as many random methods as a budget pays for with one seed."""
    seed, tried = order[0], list[str]()
    for place in np.random.default_rng([*order]).permutation(len(grid.contenders)):
        if len(tried) >= FINALISTS and grid.cost([*tried, grid.contenders[place]], [seed]) > budget:
            break
        tried.append(grid.contenders[place])
    best = sorted(tried, key=lambda method: -grid.runs[method, seed].score_rows(1.0).mean())
    return Found(best[:FINALISTS], grid.cost(tried, [seed]), (seed,))


def choose_at_random(grid: Grid, order: Sequence[int]) -> Found:
    """Return three methods without looking."""
    places = np.random.default_rng([*order]).permutation(len(grid.contenders))[:FINALISTS]
    return Found([grid.contenders[place] for place in places], 0.0, (order[0],))


def take_all(grid: Grid, order: Sequence[int]) -> Found:
    """Return every method: the search is left to the comparison on the test set."""
    return Found(grid.contenders, 0.0, (order[0],))


def plan_halving(costs: Costs, budget: float, seeds: int) -> tuple[Rung, ...]:
    """Return two rungs, at half of the schedule and its end, with the most places that a budget pays for."""
    for places in range(len(costs.contenders), FINALISTS - 1, -1):
        rungs = (Rung(0.5, seeds, places), Rung(1.0, seeds, FINALISTS))
        if race_cost(rungs, costs) <= budget:
            break
    return rungs


def orders(seeds: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield an order of all seeds for every choice of the first two."""
    for first in permutations(seeds, 2):
        yield (*first, *(seed for seed in seeds if seed not in first))


def judge_search(grid: Grid, found: Found) -> dict[str, float]:
    """Return cost and regret of a search with its confirmation on the other seeds."""
    fresh = [seed for seed in grid.seeds if seed not in found.seeds]
    candidates, means = [BASELINE, *found.finalists], grid.test.mean(axis=1)
    winner = grid.test.loc[candidates, fresh].mean(axis=1).idxmax()
    whole = grid.cost([BASELINE, *grid.contenders], grid.seeds)
    return {
        "cost of the search": found.seconds / whole,
        "cost with confirmation": (found.seconds + grid.cost(candidates, fresh)) / whole,
        "regret of the finalists": 100 * float(means.max() - means[candidates].max()),
        "regret of the winner": 100 * float(means.max() - means[winner]),
        "within 0.5 points": float(means.max() - means[winner] <= CLOSE),
    }


def tabulate_races(grids: Sequence[Grid]) -> pd.DataFrame:
    """Return cost and regret of the race, of plain halving and of random search, by scenario and budget of the search."""
    lines = []
    for share, seeds in ((0.15, 1), (0.3, 2)):
        for grid in grids:
            costs = grid.costs
            budget = share * grid.cost([BASELINE, *grid.contenders], grid.seeds)
            searches: dict[str, Callable[[Sequence[int]], Found]] = {
                "race": partial(replay_race, grid, plan_race(costs, FINALISTS, budget) or ()),
                "plain halving": partial(replay_race, grid, plan_halving(costs, budget, seeds), plain=True),
                "random search": partial(search_at_random, grid, budget),
                "three at random": partial(choose_at_random, grid),
                "all methods": partial(take_all, grid),
            }
            for name, search in searches.items():
                judged = pd.DataFrame([judge_search(grid, search(order)) for order in orders(grid.seeds)]).mean()
                lines.append({"scenario": grid.scenario, "budget": share, "search": name, **judged})
    return pd.DataFrame(lines)


# --- scores and averages --------------------------------------------------------------------------------------------------


def tabulate_ranking(grids: Sequence[Grid]) -> pd.DataFrame:
    """Return the rank correlation of held-out scores, of one seed, with the test means of the other seeds.

    A line per scenario, score and share of the schedule: the mean over seeds.
    """
    lines = []
    for grid in grids:
        for share in (0.25, 0.5, 1.0):
            for name, score in SCORES.items():
                ranks, regrets = [], []
                for seed in grid.seeds:
                    runs = [grid.runs[method, seed] for method in grid.contenders]
                    values = _score_windows(runs, share, score)
                    means = grid.test.loc[grid.contenders].drop(columns=seed).mean(axis=1).to_numpy()
                    # Equal scores of all say nothing about the order.
                    ranks.append(stats.spearmanr(values, means).statistic if np.ptp(values) else 0.0)
                    regrets.append(means.max() - means[values.argmax()])
                lines.append(
                    {
                        **{"scenario": grid.scenario, "share": share, "score": name},
                        **{"rank correlation": np.mean(ranks), "regret of the first": 100 * np.mean(regrets)},
                    }
                )
    return pd.DataFrame(lines)


def _score_windows(runs: Sequence[Recorded], share: float, score: Callable[..., Array]) -> Array:
    """Return a score of each run, averaged over the last epochs of a share of the schedule: (m,)."""
    ends = [run.epochs(share) for run in runs]
    length = min(map(window, ends))
    by_epoch = [
        score(
            np.stack([run.progress.held_out[end - 1 - k] for run, end in zip(runs, ends, strict=True)]),
            runs[0].labels,
        )
        for k in range(length)
    ]
    return np.mean(by_epoch, axis=0)


def tabulate_averages(grids: Sequence[Grid]) -> pd.DataFrame:
    """Return level and spread of the last network, the average of the weights, and the network stopped early.

    A line per scenario and kind of network: balanced accuracy, the standard deviation over seeds of the paired difference from
    plain training with the same kind of network, and the difference; means over methods, in points.
    """
    kinds: dict[str, Callable[[RunResult], NetMetrics | None]] = {
        "last": lambda result: result.last,
        "average": lambda result: result.auxiliary.get("ema"),
        "stopped early": lambda result: result.early,
    }
    lines = []
    for grid in grids:
        for name, pick in kinds.items():
            picked = {key: pick(run.result) for key, run in grid.runs.items()}
            nets = {key: net.metrics[HEADLINE] for key, net in picked.items() if net is not None}
            if len(nets) < len(picked):
                continue
            values = 100 * pd.Series(nets).unstack()
            paired = values.loc[grid.contenders] - values.loc[BASELINE]
            lines.append(
                {
                    **{"scenario": grid.scenario, "network": name, "balanced accuracy": values.to_numpy().mean()},
                    "difference": paired.to_numpy().mean(),
                    "sd of the difference": np.sqrt((paired.std(axis=1) ** 2).mean()),
                }
            )
    return pd.DataFrame(lines)


TABLES = {"races": tabulate_races, "ranking": tabulate_ranking, "averages": tabulate_averages}


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=tuple(TABLES))
    parser.add_argument("grids", type=Path, nargs="+", help="packed studies")
    parser.add_argument("--to", type=Path, required=True, help="a CSV file")
    given = parser.parse_args(words)
    TABLES[given.what]([Grid(file) for file in given.grids]).to_csv(given.to, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
