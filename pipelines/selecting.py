"""Planning of a selection: its contenders, what the budget pays for, and where it is recorded."""

import shlex
from dataclasses import MISSING, replace
from pathlib import Path

from pipelines import planning
from pipelines.cli_options import SelectOptions
from pipelines.console import format_duration
from pipelines.folder_names import legal_folder_name
from pipelines.report.formatting import format_count
from robustkd.errors import UsageError
from robustkd.evaluation.power import Spread, smallest_difference
from robustkd.hashing import digest
from robustkd.method_sets import read_method_list
from robustkd.selection.budget import Budget, BudgetError, Costs, SelectionPlan, plan_selection
from robustkd.specs import split_at
from robustkd.study.options import StudyOptions
from robustkd.study.plan import Plan
from robustkd.study.results import BASELINE

RACE_SEEDS = 3  # of the longest race; the confirmation's follow them
SPREADS = (0.009, 0.027)  # over seeds, of paired differences on digits, where none is given


def draft_race(options: SelectOptions) -> tuple[planning.Draft, dict[str, str]]:
    """Plan the study of the race; also return the methods that cannot be selected, and why.

    Raises:
        UsageError: no method is left, or there are no held-out rows.
    """
    if options.held_out == 0:
        raise UsageError("--held-out 0: the race is decided on held-out rows, so a share such as 0.1 is needed")
    options = replace(options, methods=read_method_list(options.methods))
    specs = options.method_specs()
    left_out = {spec.text: "it uses true labels, which you do not have" for spec in specs if spec.oracle}
    contenders = [spec.text for spec in specs if spec.text not in (BASELINE, *left_out)]
    if not contenders:
        raise UsageError(
            f"--methods {options.methods}: there is nothing to select; name methods other than plain training"
        )
    # Methods of a set, such as `all`, may be refused by networks or data, which the names alone would not allow.
    parts = [
        part
        for part in split_at(options.methods, ",")
        if not all(spec.oracle for spec in replace(options, methods=part).method_specs())
    ]
    race = options.study([*parts, BASELINE], seeds=RACE_SEEDS, first_seed=options.first_seed, part="race")
    draft = planning.draft_study(race)
    possible = [spec.text for spec in draft.plan.options.method_specs()]
    left_out |= {name: "networks or data do not allow it" for name in contenders if name not in possible}
    contenders = [name for name in contenders if name in possible]
    plan = replace(draft.plan, options=replace(draft.plan.options, methods=",".join(contenders)))
    criteria = {name: draft.record.criteria[name] for name in contenders}
    record = draft.record.model_copy(
        update={"options": plan.options, "methods": contenders, "criteria": criteria, "oracles": []}
    )
    if not len(draft.drawn[next(iter(draft.drawn))].held_out):
        raise UsageError(
            "the race is decided on held-out rows, and these data have none: --held-out 0.1 holds out some"
        )
    return replace(draft, plan=plan, record=record), left_out


def plan_or_refuse(
    options: SelectOptions, budget: Budget, job_seconds: float, costs: Costs, jobs: int
) -> SelectionPlan:
    """Return what the budget pays for.

    Args:
        job_seconds: that the budget is, of one job.

    Raises:
        UsageError: it is too small; the message says the least.
    """
    try:
        return plan_selection(costs, options.finalists, options.seeds, job_seconds, options.screened)
    except BudgetError as error:
        least = budget.describe(1.02 * error.least, costs, options.seeds, jobs)
        methods, finalists = len(costs.contenders), min(options.finalists, len(costs.contenders))
        raise UsageError(
            f"--budget {budget.text}: it is too small for one rung of {methods} methods and a first look at"
            f" {format_count(finalists, 'finalist')} with 5 seeds; the least is {least}"
        ) from None


def describe_plan(
    options: SelectOptions, plan: SelectionPlan, costs: Costs, jobs: int, spread: float | None
) -> list[str]:
    """Describe the rungs, the screening, the time and the gains that would be found."""
    lines, running = [], len(costs.contenders)
    for number, rung in enumerate(plan.rungs, 1):
        seeds = format_count(rung.seeds, "seed")
        lines.append(
            f"rung {number}: {running} methods, {rung.share:.0%} of their epochs, {seeds}; at most {rung.places} continue"
        )
        running = rung.places
    looks = ", ".join(map(str, plan.looks))
    finalists = min(options.finalists, len(costs.contenders))
    if plan.screened > finalists:
        halving = f"{plan.screened} methods on the test set, the better half after each fresh seed"
        lines.append(f"screening: {halving}; {finalists} continue")
    lines.append(f"final: {finalists} against plain training on fresh seeds and the test set, looks at {looks} seeds")
    whole, grid = plan.race + plan.screening + plan.confirmation, costs.grid(options.seeds)
    parts = [("the race", plan.race), ("the screening", plan.screening)]
    times = ", ".join(f"{format_duration(seconds / jobs)} for {name}" for name, seconds in parts if seconds)
    final = f"at most {format_duration(plan.confirmation / jobs)} for the final, {jobs} in parallel"
    lines.append(
        f"{f'about {times} and ' if times else ''}{final}, not counting evaluation: {whole / grid:.0%} of the grid, which takes"
        f" {format_duration(grid / jobs)}"
    )
    spreads = SPREADS if spread is None else (spread,)
    found = [100 * smallest_difference(plan.looks[-1], Spread(each), plan.screened) for each in spreads]
    gains = " and ".join(f"{gain:.1f}" for gain in found)
    given = " and ".join(f"{100 * each:g}" for each in spreads)
    lines.append(
        f"power: at a spread of {given} points over seeds, the final finds gains of {gains} points with 80 % power, if the test"
        " images are many"
    )
    return lines


def find_folder(options: SelectOptions, plan: Plan) -> Path:
    """Return the folder of a selection, named by what it consists of; its studies are shared with other selections."""
    decisive = [
        plan.folder.name,
        plan.options.methods,
        options.budget,
        options.screened,
        options.finalists,
        options.seeds,
        options.first_seed,
    ]
    name = legal_folder_name(plan.options.name or "")
    return Path(options.out) / f"select-{name.removesuffix('-race')}-{digest(text=repr(decisive))[:8]}"


def as_command(options: StudyOptions) -> str:
    """Return the command that runs a study: what differs from the defaults."""
    words = ["robustkd", "run"]
    for name, field in StudyOptions.__dataclass_fields__.items():
        value = getattr(options, name)
        default = field.default
        if value == default or name in ("fresh", "stop_after") or (default is MISSING and value is None):
            continue
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words += [f"--{option}", shlex.quote(str(value))]
    return " ".join(words)
