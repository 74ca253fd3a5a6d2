"""`robustkd select` on recorded grids: what its race would have found, at which cost, where everything was trained.

    python benchmarks/replay.py races benchmarks/results/digits/* --to benchmarks/replay-races.csv
    python benchmarks/replay.py ranking benchmarks/results/digits/* --to benchmarks/replay-ranking.csv
    python benchmarks/replay.py averages benchmarks/results/digits/* --to benchmarks/replay-averages.csv
    python benchmarks/replay.py ranking benchmarks/results/fashion-defaults/* --to benchmarks/replay-fashion.csv

A grid is a packed study (benchmarks/packed.py) with the held-out predictions of every epoch. A race takes its seeds from the
grid's, in every order of the first two, and sees held-out rows only; with --race-grids it is run in other grids of the same
scenarios, such as those with more held-out rows. More contenders than finalists are screened on the test set with the first of
the other seeds, the better half after each. The finalists and plain training are then compared on the test set with the seeds
that had no part in the race, and the one with the highest mean is the winner. Its regret is by how much its mean over all seeds
is below the highest in the grid. That highest mean is favoured by chance, so that even a search that trains every method with
every remaining seed has a regret: it is the row `all methods`. The regret on other images is that of winners chosen by one half
of the test images, on the other half, where the highest mean is favoured more.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from sklearn.model_selection import train_test_split

from robustkd.evaluation.results import NetMetrics
from robustkd.selection.budget import Costs, Search, plan_search, race_cost, screening_rungs
from robustkd.selection.race import Rung, judge_rung, score_rows, window
from robustkd.study.agreements import unpack_classes
from robustkd.study.pairing import HEADLINE, image_correctness
from robustkd.study.progress import RunProgress
from robustkd.study.results import BASELINE, TEACHER, RunResult
from robustkd.study.stopping import epochs_of_share

Array = NDArray[np.float64]
FINALISTS = 3
HALVES = 4  # random halves of the test set
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
        halves: the same on some images and on the others, for some random halves of the test set and each in either role.
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
        self.halves = list(self._split_test(unpack_classes(study.record.test_labels)))
        self.test = pd.DataFrame(
            {
                seed: [self.runs[method, seed].result.last.metrics[HEADLINE] for method in [BASELINE, *self.contenders]]
                for seed in self.seeds
            },
            index=[BASELINE, *self.contenders],
        ).astype(float)

    def _split_test(self, labels: NDArray[np.int64]) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
        right = {key: image_correctness(run.result, labels) for key, run in self.runs.items()}
        if any(each is None for each in right.values()):
            return  # predictions of the test images were not recorded
        for repeat in range(HALVES):
            one, other = train_test_split(np.arange(len(labels)), test_size=0.5, stratify=labels, random_state=repeat)
            tables = [
                pd.Series({key: _balanced(each[part], labels[part]) for key, each in right.items()}).unstack()
                for part in (one, other)
            ]
            yield tables[0], tables[1]
            yield tables[1], tables[0]

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


def _balanced(right: Array, labels: NDArray[np.int64]) -> float:
    return float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))


class Found(NamedTuple):
    """What a search leaves, finalists or more that are to be screened; the seconds that it took, and the seeds of its race."""

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


def search_at_random(grid: Grid, budget: float, finalists: int, order: Sequence[int]) -> Found:
    """Return the best, by held-out score, of as many random methods as a budget pays for with one seed."""
    seed, tried = order[0], list[str]()
    for place in np.random.default_rng([*order]).permutation(len(grid.contenders)):
        if len(tried) >= finalists and grid.cost([*tried, grid.contenders[place]], [seed]) > budget:
            break
        tried.append(grid.contenders[place])
    best = sorted(tried, key=lambda method: -grid.runs[method, seed].score_rows(1.0).mean())
    return Found(best[:finalists], grid.cost(tried, [seed]), (seed,))


def choose_at_random(grid: Grid, finalists: int, order: Sequence[int]) -> Found:
    """Return methods without looking."""
    places = np.random.default_rng([*order]).permutation(len(grid.contenders))[:finalists]
    return Found([grid.contenders[place] for place in places], 0.0, (order[0],))


def take_all(grid: Grid, order: Sequence[int]) -> Found:
    """Return every method: the search is left to the comparison on the test set."""
    return Found(grid.contenders, 0.0, (order[0],))


def plan_halving(costs: Costs, budget: float, seeds: int, finalists: int) -> tuple[Rung, ...]:
    """Return two rungs, at half of the schedule and its end, with the most places that a budget pays for."""
    for places in range(len(costs.contenders), finalists - 1, -1):
        rungs = (Rung(0.5, seeds, places), Rung(1.0, seeds, finalists))
        if race_cost(rungs, costs) <= budget:
            break
    return rungs


def orders(raced: Sequence[int], compared: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield an order of all seeds for every choice of the first two, which a race may have."""
    for first in permutations(raced, 2):
        yield (*first, *(seed for seed in compared if seed not in first))


def screen(grid: Grid, found: Found, finalists: int, order: Sequence[int], seen: pd.DataFrame) -> Found:
    """Return the finalists of a screening on the test set, with the first seeds that the race did not have.

    Args:
        seen: balanced accuracy on the test images by which they are chosen, by method and seed.
    """
    fresh, running, seconds = [seed for seed in order if seed not in found.seeds], found.finalists, found.seconds
    for rung in screening_rungs(len(running), finalists):
        trained = fresh[: rung.seeds]
        best = [*seen.loc[running, trained].mean(axis=1).sort_values(ascending=False, kind="stable").index]
        running, dropped = best[: rung.places], best[rung.places :]
        seconds += sum(grid.runs[method, seed].seconds(1.0) for method in dropped for seed in trained)
    return Found(running, seconds, found.seeds)


def judge_search(grid: Grid, found: Found, finalists: int, order: Sequence[int]) -> dict[str, float]:
    """Return cost and regret of a search and its confirmation on the other seeds; more than the finalists are screened."""
    whole, regrets = grid.cost([BASELINE, *grid.contenders], grid.seeds), []
    for seen, unseen in [(grid.test, grid.test), *grid.halves]:
        final = screen(grid, found, finalists, order, seen) if len(found.finalists) > finalists else found
        fresh = [seed for seed in grid.seeds if seed not in final.seeds]
        candidates, means = [BASELINE, *final.finalists], unseen.mean(axis=1)
        winner = seen.loc[candidates, fresh].mean(axis=1).idxmax()
        regrets.append((float(means.max() - means[candidates].max()), float(means.max() - means[winner])))
        if seen is unseen:
            seconds = final.seconds, final.seconds + grid.cost(candidates, fresh)
    (of_finalists, of_winner), *elsewhere = regrets
    return {
        "cost of the search": seconds[0] / whole,
        "cost with confirmation": seconds[1] / whole,
        "regret of the finalists": 100 * of_finalists,
        "regret of the winner": 100 * of_winner,
        "within 0.5 points": float(of_winner <= CLOSE),
        "regret on other images": 100 * float(np.mean([regret for _, regret in elsewhere])),
    }


def _race_to(grid: Grid, search: Search, order: Sequence[int]) -> Found:
    if not search.rungs:
        return Found(grid.contenders, 0.0, ())
    return replay_race(grid, search.rungs, order)


def tabulate_races(grids: Sequence[Grid], raced: Mapping[str, Grid], finalists: int = FINALISTS) -> pd.DataFrame:
    """Return cost and regret of the race, of plain halving and of random search, by scenario and budget of the search.

    Args:
        grids: in which the finalists are compared.
        raced: in which the searches are run, by scenario; those of `grids` where there is none.
    """
    lines = []
    for share, seeds in ((0.15, 1), (0.3, 2)):
        for grid in grids:
            seen = raced.get(grid.scenario, grid)
            costs = seen.costs
            budget = share * grid.cost([BASELINE, *grid.contenders], grid.seeds)
            searches: dict[str, Callable[[Sequence[int]], Found]] = {
                "race and screening": partial(_race_to, seen, plan_search(costs, finalists, budget)),
                "race": partial(_race_to, seen, plan_search(costs, finalists, budget, screened=0)),
                "plain halving": partial(replay_race, seen, plan_halving(costs, budget, seeds, finalists), plain=True),
                "random search": partial(search_at_random, seen, budget, finalists),
                "random finalists": partial(choose_at_random, seen, finalists),
                "all methods": partial(take_all, seen),
            }
            for name, search in searches.items():
                places = len(grid.contenders) if name == "all methods" else finalists
                every = orders(seen.seeds, grid.seeds)
                found = [judge_search(grid, search(order), places, order) for order in every]
                line = pd.DataFrame(found).mean()
                lines.append({"scenario": grid.scenario, "budget": share, "search": name, **line})
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


TABLES = {"ranking": tabulate_ranking, "averages": tabulate_averages}


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("races", *TABLES))
    parser.add_argument("grids", type=Path, nargs="+", help="packed studies")
    parser.add_argument("--race-grids", type=Path, nargs="+", default=[], help="packed studies in which races are run")
    parser.add_argument("--finalists", type=int, default=FINALISTS, help="of a race")
    parser.add_argument("--to", type=Path, required=True, help="a CSV file")
    given = parser.parse_args(words)
    grids = [Grid(file) for file in given.grids]
    if given.what == "races" and any(len(grid.seeds) < 3 for grid in grids):
        parser.error("races of two seeds need a third one, with which their finalists are compared")
    if given.what == "races":
        raced = {grid.scenario: grid for grid in map(Grid, given.race_grids)}
        table = tabulate_races([g for g in grids if not raced or g.scenario in raced], raced, given.finalists)
    else:
        table = TABLES[given.what](grids)
    table.to_csv(given.to, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
