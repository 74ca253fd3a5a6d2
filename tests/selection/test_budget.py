"""What a budget pays for: rungs, places and looks."""

from itertools import pairwise

import pytest

from robustkd.errors import UsageError
from robustkd.selection.budget import (
    DESIGNS,
    Budget,
    BudgetError,
    Costs,
    least_budget,
    plan_race,
    plan_selection,
    race_cost,
    replan_places,
    replan_screened,
    screening_rungs,
    with_places,
)
from robustkd.selection.race import Rung

COSTS = Costs({str(number): 10.0 for number in range(28)}, teacher=5.0, baseline=10.0)


def test_the_cost_of_a_race_is_that_of_its_runs() -> None:
    """28 half runs, then 6 contenders: half a run of the first seed and a whole one of the second."""
    rungs = [Rung(0.5, 1, 6), Rung(1.0, 2, 3)]
    assert race_cost(rungs, COSTS) == 28 * 5 + 6 * (5 + 10) + 2 * 5


@pytest.mark.parametrize("budget", [80, 200, 300, 400, 800, 2000])
def test_a_race_uses_its_budget_and_no_more(budget: float) -> None:
    rungs = plan_race(COSTS, 3, budget)
    assert rungs
    assert race_cost(rungs, COSTS) <= budget
    assert rungs[-1].places == 3
    entrants = [28, *(rung.places for rung in rungs)]
    assert all(before > after for before, after in pairwise(entrants)) or budget == 2000


def test_a_larger_budget_keeps_more_contenders() -> None:
    places = [plan_race(COSTS, 3, budget)[0].places for budget in (400, 500, 700)]  # type: ignore[index]
    assert places == sorted(places)
    assert places[0] < places[-1]


def test_no_race_is_needed_where_all_are_finalists() -> None:
    assert plan_race(COSTS, 28, 0) == ()


def test_no_rung_is_affordable_for_less_than_the_least() -> None:
    least = min(race_cost(with_places(design, 28, 3, 0.0), COSTS) for design in DESIGNS)
    assert plan_race(COSTS, 3, least)
    assert plan_race(COSTS, 3, 0.99 * least) is None


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5, 1.0])
def test_race_and_confirmation_stay_within_the_budget(share: float) -> None:
    budget = share * COSTS.grid(20)
    plan = plan_selection(COSTS, 3, 20, budget)
    assert plan.race + plan.screening + plan.confirmation <= budget * 1.0001
    assert plan.looks[0] == 5
    assert plan.looks == (5, 10, 15, 20)[: len(plan.looks)]


def test_half_of_the_contenders_are_screened_after_a_quarter_of_their_epochs() -> None:
    plan = plan_selection(COSTS, 3, 20, 0.2 * COSTS.grid(20))
    assert plan.rungs == (Rung(0.25, 1, 14),)
    assert (plan.screened, plan.screening) == (14, (11 + 4 + 1) * 10.0)
    assert [(rung.share, rung.seeds, rung.places) for rung in screening_rungs(100, 2)] == [
        *((1.0, 1, 50), (1.0, 2, 25), (1.0, 3, 13), (1.0, 4, 7), (1.0, 5, 2)),
    ], "before the first look"
    assert screening_rungs(3, 3) == ()


def test_fewer_are_screened_for_less_and_none_where_only_a_race_is_paid_for() -> None:
    screened = [
        plan_selection(COSTS, 3, 20, factor * least_budget(COSTS, 3, 20)).screened for factor in (1, 1.1, 1.2, 2)
    ]
    assert screened == sorted(screened)
    assert (screened[0], screened[-1]) == (3, 14)
    assert len(set(screened)) > 2


def test_few_contenders_are_screened_without_a_race() -> None:
    few = Costs(dict.fromkeys("abcdef", 10.0), 5.0, 10.0)
    plan = plan_selection(few, 3, 20, 0.8 * few.grid(20))
    assert (plan.rungs, plan.screened, plan.screening, plan.race) == ((), 6, 30.0, 0.0)
    assert screening_rungs(6, 3) == (Rung(1.0, 1, 3),)


def test_as_many_are_screened_as_asked_for_and_0_leaves_all_to_the_race() -> None:
    budget = COSTS.grid(20)
    assert plan_selection(COSTS, 3, 20, budget, screened=5).screened == 5
    assert plan_selection(COSTS, 3, 20, budget, screened=100).rungs == ()
    alone = plan_selection(COSTS, 3, 20, budget, screened=0)
    assert (alone.screened, alone.screening) == (3, 0)
    assert alone.rungs[0] == Rung(1.0, 1, alone.rungs[0].places), "all of the budget is left for a longer race"


def test_fewer_are_screened_where_the_race_took_longer_than_expected() -> None:
    budget = 0.2 * COSTS.grid(20)
    plan = plan_selection(COSTS, 3, 20, budget)
    planned, whole = plan.race + plan.screening, COSTS.confirmation(3, 20)
    assert replan_screened(plan, COSTS, 3, budget, spent=plan.race) == 14
    assert replan_screened(plan, COSTS, 3, planned, spent=planned - 25) == 5
    assert replan_screened(plan, COSTS, 3, planned, spent=planned - 60) == 8, (
        "5 dropped after one seed, and 1 after two"
    )
    assert replan_screened(plan, COSTS, 3, planned, spent=planned + 10) == 3
    assert replan_screened(plan, COSTS, 3, whole + planned + 100, spent=planned + 75) == 5, "25 that nothing else needs"


def test_the_least_budget_is_enough_and_less_is_not() -> None:
    least = least_budget(COSTS, 3, 20)
    assert plan_selection(COSTS, 3, 20, least).looks == (5,)
    with pytest.raises(BudgetError) as error:
        plan_selection(COSTS, 3, 20, 0.99 * least)
    assert error.value.least == least


def test_places_shrink_where_runs_take_longer_than_expected() -> None:
    rungs = [Rung(0.5, 1, 14), Rung(1.0, 2, 3)]
    dear = Costs(dict.fromkeys(COSTS.contenders, 20.0), 5.0, 20.0)
    assert replan_places(rungs, COSTS, 3, left=155) == 10  # (155 - 5) / 15
    assert replan_places(rungs, dear, 3, left=155) == 5
    assert replan_places(rungs, COSTS, 3, left=0) == 3
    assert replan_places(rungs[1:], COSTS, 3, left=0) == 3


@pytest.mark.parametrize("text", ["4", "0", "-1", "much", "", "1.5", "nan"])
def test_other_budgets_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--budget"):
        Budget.parse(text)


def test_a_time_is_shared_by_jobs_and_a_share_is_of_the_grid() -> None:
    assert Budget.parse("1m").job_seconds(COSTS, 20, jobs=2) == 120
    assert Budget.parse("0.5").job_seconds(COSTS, 20, jobs=2) == 0.5 * 20 * (280 + 10 + 5)
    assert Budget.parse("1h").describe(5 * 60, COSTS, 20, jobs=2) == "3m"
    assert Budget.parse("0.5").describe(590, COSTS, 20, jobs=2) == "0.1"
