"""From a budget to rungs, screening and looks: what of them, and how many seeds of the finalists, a number of seconds pays for.

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
from robustkd.selection.sequential import SEEDS_PER_LOOK, planned_looks
from robustkd.types import to_seconds

# Share of the schedule and number of seeds of each rung, from the race to prefer to the cheapest.
# A whole run of one seed ranks better than half of one (benchmarks/selection.py), so that shares are for small budgets.
DESIGNS = (((1.0, 1), (1.0, 2), (1.0, 3)), ((0.5, 1), (1.0, 1)), ((0.25, 1), (1.0, 1)), ((0.25, 1),))
SHORT = 0.25  # share of the schedule before a screening; longer races left no better contenders (benchmarks/replay.py)
RACE = 0.4  # share of the budget that race and screening get, and more where the confirmation does not need the rest
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


class Search(NamedTuple):
    """How finalists are found.

    Attributes:
        rungs: of the race; none where it drops no contender.
        screened: how many contenders it leaves; those that are more than the finalists are screened.
        race, screening: expected seconds of one job; of the screening, what it takes beyond the confirmation.
    """

    rungs: tuple[Rung, ...]
    screened: int
    race: float
    screening: float


class SelectionPlan(NamedTuple):
    """What a budget pays for.

    Attributes:
        rungs, screened, race, screening: see `Search`.
        looks: numbers of seeds of the confirmation.
        confirmation: expected seconds of one job, with all looks.
    """

    rungs: tuple[Rung, ...]
    screened: int
    race: float
    screening: float
    looks: tuple[int, ...]
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


def screening_rungs(entrants: int, finalists: int) -> tuple[Rung, ...]:
    """Return the rungs of a screening: after each seed the better half continues, until the finalists are left.

    >>> [(rung.seeds, rung.places) for rung in screening_rungs(14, 3)]
    [(1, 7), (2, 4), (3, 3)]
    """
    rungs: list[Rung] = []
    while entrants > finalists:
        is_last = len(rungs) + 1 == SEEDS_PER_LOOK  # the confirmation looks at its finalists
        entrants = finalists if is_last else max(finalists, math.ceil(entrants / 2))
        rungs.append(Rung(1.0, len(rungs) + 1, entrants))
    return tuple(rungs)


def screening_cost(entrants: int, finalists: int, costs: Costs) -> float:
    """Return the expected seconds of a screening beyond what the confirmation trains: whole runs of those that are dropped."""
    running = [entrants, *(rung.places for rung in screening_rungs(entrants, finalists))]
    return sum(places - finalists for places in running) * costs.mean


def plan_search(costs: Costs, finalists: int, budget: float, screened: int | None = None) -> Search:
    """Return the search that a budget pays for: a short race and a screening, or else a race alone.

    Args:
        budget: seconds of one job.
        screened: contenders to be screened, at most; half of them by default, and at least twice the finalists.
    """
    contenders = len(costs.contenders)
    most = max(2 * finalists, math.ceil(contenders / 2)) if screened is None else screened
    for entrants in range(min(most, contenders), finalists, -1):
        rungs: tuple[Rung, ...] = () if entrants == contenders else (Rung(SHORT, 1, entrants),)
        race, screening = race_cost(rungs, costs), screening_cost(entrants, finalists, costs)
        if race + screening <= budget:
            return Search(rungs, entrants, race, screening)
    rungs = plan_race(costs, finalists, budget) or ()
    return Search(rungs, finalists, race_cost(rungs, costs), 0.0)


def plan_selection(
    costs: Costs, finalists: int, seeds: int, budget: float, screened: int | None = None
) -> SelectionPlan:
    """Return what a budget pays for.

    Args:
        seeds: of the confirmation, at most.
        budget: seconds of one job.
        screened: contenders to be screened, at most; half of them by default, and at least twice the finalists.

    Raises:
        BudgetError: it does not pay for one rung and one look.
    """
    contenders = len(costs.contenders)
    finalists = min(finalists, contenders)
    looks = planned_looks(seeds)
    whole, first = costs.confirmation(finalists, seeds), costs.confirmation(finalists, looks[0])
    least = least_budget(costs, finalists, seeds)
    if budget < least:
        raise BudgetError(least)
    search = plan_search(
        costs, finalists, max(min(budget * RACE, budget - first), budget - whole, least - first), screened
    )
    spent = search.race + search.screening
    paid = [look for look in looks if spent + costs.confirmation(finalists, look) <= budget * (1 + 1e-9)]
    return SelectionPlan(*search, tuple(paid), costs.confirmation(finalists, paid[-1]))


def least_budget(costs: Costs, finalists: int, seeds: int) -> float:
    """Return the seconds of the cheapest race with the first look at its finalists."""
    finalists = min(finalists, len(costs.contenders))
    race = 0.0
    if len(costs.contenders) > finalists:
        race = min(race_cost(with_places(design, len(costs.contenders), finalists, 0.0), costs) for design in DESIGNS)
    return race + costs.confirmation(finalists, planned_looks(seeds)[0])


def replan_screened(plan: SelectionPlan, costs: Costs, finalists: int, budget: float, spent: float) -> int:
    """Return how many contenders the race leaves, after what it took.

    They are screened with what was planned for race and screening, or, if that is more, what the planned confirmation leaves.

    Args:
        costs: of the contenders, as measured.
        budget, spent: seconds of one job, of all and of the race so far.
    """
    finalists = min(finalists, plan.screened)
    left = max(plan.race + plan.screening, budget - costs.confirmation(finalists, plan.looks[-1])) - spent
    fewer = range(plan.screened, finalists, -1)
    return next((n for n in fewer if screening_cost(n, finalists, costs) <= left), finalists)


def replan_places(rungs: Sequence[Rung], costs: Costs, finalists: int, left: float) -> int:
    """Return how many contenders may continue after a rung, with what was measured and what is left for the race.

    Args:
        rungs: that rung and those that follow.
        costs: of the contenders that were in it, as measured.
        finalists: places after the last of them.
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
