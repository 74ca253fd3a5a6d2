"""From a budget to rungs and looks: how much of a race, and how many seeds of its finalists, a number of seconds pays for.

A cost is that of a run's training, in seconds of one job. The grid, which a share refers to, is every contender and plain
training with all seeds of the confirmation.
"""

import math
import re
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from robustkd.errors import UsageError
from robustkd.selection.race import Rung
from robustkd.selection.sequential import planned_looks
from robustkd.types import to_seconds

# Share of the schedule and number of seeds of each rung, from the race to prefer to the cheapest.
# A whole run of one seed ranks better than half of one (benchmarks/selection.py), so that shares are for small budgets.
DESIGNS = (((1.0, 1), (1.0, 2), (1.0, 3)), ((0.5, 1), (1.0, 1)), ((0.25, 1), (1.0, 1)), ((0.25, 1),))
RACE = 0.4  # share of the budget that a race gets, and more where the confirmation does not need the rest
STEPS = 40  # of the search for the places of a race
START = Rung(0.0, 0, sys.maxsize)  # before the first rung: nothing is trained, and all contenders have a place


class Costs(NamedTuple):
    """What training costs.

    Attributes:
        contenders: seconds of a run, by contender, without its teacher.
        teacher: seconds of a seed's teachers; 0 where none is trained.
        baseline: seconds of a run of plain training.
    """

    contenders: Mapping[str, float]
    teacher: float
    baseline: float

    @property
    def mean(self) -> float:
        """The mean over contenders."""
        return sum(self.contenders.values()) / len(self.contenders)

    def grid(self, seeds: int) -> float:
        """Return the cost of every contender and plain training."""
        return seeds * (sum(self.contenders.values()) + self.baseline + self.teacher)

    def confirmation(self, finalists: int, seeds: int) -> float:
        """Return the cost of finalists and plain training, where each finalist costs the mean over contenders."""
        return seeds * (finalists * self.mean + self.baseline + self.teacher)


class BudgetError(Exception):
    """A budget does not pay for one rung and one look.

    Args:
        least: seconds that do.
    """

    def __init__(self, least: float) -> None:
        super().__init__(f"at least {least:.0f} s are needed")
        self.least = least


class Budget(NamedTuple):
    """A budget as typed: seconds, or a share of the grid."""

    text: str
    seconds: float | None
    share: float | None

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """Parse a duration or a share.

        Raises:
            UsageError: it is neither.

        >>> Budget.parse("4h").seconds, Budget.parse("0.2").share
        (14400.0, 0.2)
        """
        if re.fullmatch(r"\d{1,9}(\.\d{1,9})?[smh]", text, re.ASCII):
            return cls(text, to_seconds(text), None)
        try:
            share = float(text)
        except ValueError:
            share = 0.0
        if not 0 < share <= 1:
            raise UsageError(
                f"--budget {text}: it should be a time, as in 4h or 30m, or a share of the grid, as in 0.2"
            )
        return cls(text, None, share)

    def job_seconds(self, costs: Costs, seeds: int, jobs: int) -> float:
        """Return the seconds of one job that it pays for, with so many jobs side by side."""
        return self.share * costs.grid(seeds) if self.share is not None else (self.seconds or 0.0) * jobs

    def describe(self, job_seconds: float, costs: Costs, seeds: int, jobs: int) -> str:
        """Return a number of seconds in the unit in which this budget was typed, rounded up; more than the grid as a time."""
        if self.share is not None and job_seconds < 0.999 * costs.grid(seeds):
            return f"{math.ceil(1000 * job_seconds / costs.grid(seeds)) / 1000:g}"
        return f"{math.ceil(job_seconds / jobs / 60)}m"


class SelectionPlan(NamedTuple):
    """What a budget pays for.

    Attributes:
        rungs: of the race; none where all contenders are finalists.
        looks: numbers of seeds of the confirmation.
        race, confirmation: expected seconds of one job, the confirmation with all its looks.
    """

    rungs: tuple[Rung, ...]
    looks: tuple[int, ...]
    race: float
    confirmation: float


def race_cost(rungs: Sequence[Rung], costs: Costs, after: Rung = START) -> float:
    """Return the expected cost of rungs, with the mean cost of a contender for those that continue.

    Args:
        after: the last rung that is finished, whose runs are continued.
    """
    seconds, running = 0.0, len(costs.contenders)
    for before, rung in pairwise([after, *rungs]):
        running = min(running, before.places)
        more_epochs = rung.share * rung.seeds - before.share * before.seeds  # of a contender, in whole schedules
        seconds += running * more_epochs * costs.mean + (rung.seeds - before.seeds) * costs.teacher
    return seconds


def with_places(design: Sequence[tuple[float, int]], contenders: int, finalists: int, ratio: float) -> tuple[Rung, ...]:
    """Return the rungs of a design, each with a constant ratio of places to the one before, until the finalists are left.

    >>> [rung.places for rung in with_places(DESIGNS[0], 28, 3, 0.5)]
    [14, 7, 3]
    >>> [rung.places for rung in with_places(DESIGNS[0], 28, 3, 0.2)]
    [6, 3]
    """
    rungs: list[Rung] = []
    for place, (share, seeds) in enumerate(design):
        places = finalists if place == len(design) - 1 else max(finalists, round(contenders * ratio ** (place + 1)))
        rungs.append(Rung(share, seeds, places))
        if places == finalists:
            break
    return tuple(rungs)


def plan_race(costs: Costs, finalists: int, budget: float) -> tuple[Rung, ...] | None:
    """Return the rungs with the most places that a budget pays for, of the first design that it pays for; None if of none."""
    contenders = len(costs.contenders)
    if contenders <= finalists:
        return ()
    for design in DESIGNS:
        if race_cost(with_places(design, contenders, finalists, 0.0), costs) > budget:
            continue
        low, high = 0.0, 1.0
        for _ in range(STEPS):
            middle = (low + high) / 2
            affordable = race_cost(with_places(design, contenders, finalists, middle), costs) <= budget
            low, high = (middle, high) if affordable else (low, middle)
        return with_places(design, contenders, finalists, low)
    return None


def plan_selection(costs: Costs, finalists: int, seeds: int, budget: float) -> SelectionPlan:
    """Return what a budget pays for.

    Args:
        seeds: of the confirmation, at most.
        budget: seconds of one job.

    Raises:
        BudgetError: it does not pay for one rung and one look.
    """
    finalists = min(finalists, len(costs.contenders))
    looks = planned_looks(seeds)
    whole, first = costs.confirmation(finalists, seeds), costs.confirmation(finalists, looks[0])
    least = least_budget(costs, finalists, seeds)
    if budget < least:
        raise BudgetError(least)
    for_race = max(min(budget * RACE, budget - first), budget - whole)
    rungs = plan_race(costs, finalists, max(for_race, least - first))
    assert rungs is not None  # the least budget pays for one rung
    race = race_cost(rungs, costs)
    paid = [look for look in looks if race + costs.confirmation(finalists, look) <= budget * (1 + 1e-9)]
    return SelectionPlan(rungs, tuple(paid), race, costs.confirmation(finalists, paid[-1]))


def least_budget(costs: Costs, finalists: int, seeds: int) -> float:
    """Return the seconds of the cheapest race with the first look at its finalists."""
    finalists = min(finalists, len(costs.contenders))
    race = 0.0
    if len(costs.contenders) > finalists:
        race = min(race_cost(with_places(design, len(costs.contenders), finalists, 0.0), costs) for design in DESIGNS)
    return race + costs.confirmation(finalists, planned_looks(seeds)[0])


def replan_places(rungs: Sequence[Rung], costs: Costs, finalists: int, left: float) -> int:
    """Return how many contenders may continue after a rung, with what was measured and what is left for the race.

    Args:
        rungs: that rung and those that follow.
        costs: of the contenders that were in it, as measured.
        left: seconds.
    """
    done, following = rungs[0], rungs[1:]
    if not following:
        return finalists
    for places in range(len(costs.contenders), finalists, -1):
        ratio = (finalists / places) ** (1 / len(following))
        fewer = [
            rung._replace(places=max(finalists, round(places * ratio**step))) for step, rung in enumerate(following, 1)
        ]
        if race_cost(fewer, costs, after=done._replace(places=places)) <= left:
            return places
    return finalists
