"""What a dry run prints: the time that a study would take, from a few timed updates of each method."""

import os
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pipelines.console import console, format_duration
from pipelines.planning import Draft
from robustkd.models import MODELS
from robustkd.study.child_process import prepare_process
from robustkd.study.construct import has_own_size
from robustkd.study.plan import Plan, Run
from robustkd.study.recipe_presets import describe_recipe
from robustkd.study.results import TEACHER
from robustkd.study.run import Estimate, estimate_training
from robustkd.study.run_folder import is_finished, load_network

BUSY = 0.25  # share of the machine's cores that other programs use, from which estimates are called high
_STARTED = time.monotonic()


class TimedMethod(NamedTuple):
    """What training takes with a method, or of a teacher.

    Attributes:
        run: one of its runs.
        runs: number of its runs.
        estimate: of each.
    """

    run: Run
    runs: int
    estimate: Estimate

    def describe(self) -> str:
        """Return a line such as `at (weight=62.5): 1,200 updates, about 3 min for each of 5 seeds`.

        The values in brackets are the defaults that the method derives from data and networks.
        """
        each = f" for each of {self.runs} seeds" if self.runs > 1 else ""
        values = ", ".join(f"{name}={value:g}" for name, value in self.estimate.resolved.items())
        name = f"{self.run.key.row} ({values})" if values else self.run.key.row
        return f"{name}: {self.estimate.updates:,} updates, about {format_duration(self.estimate.seconds)}{each}"


def unfinished_runs(plan: Plan, runs: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """Return the runs to do, and those among them that train: a teacher that the user gave does not."""
    todo = [run for run in runs if plan.options.fresh or not is_finished(plan, run)]
    return todo, [run for run in todo if run.role == "student" or plan.teacher is None]


def print_forecast(draft: Draft) -> None:
    """Print what a study would take, a line for each method as soon as it is timed, without writing anything."""
    plan = draft.plan
    print_load()
    print_recipes(draft)
    console.print(describe_images(draft), highlight=False)
    todo, training = unfinished_runs(plan, draft.runs)
    total = 0.0
    for timed in time_methods(draft, training):
        console.print(timed.describe())
        total += timed.runs * timed.estimate.seconds
    processes = plan.options.data_parallel
    if processes > 1:
        console.print(f"these times are of one process; {processes} will train each run")
    console.print(
        f"{len(todo)} of {len(draft.runs)} runs to do, {plan.jobs} in parallel with {plan.threads} threads each, "
        f"in {describe_precision(plan)}: about {format_duration(total / plan.jobs)} in all, not counting evaluation",
    )


def describe_images(draft: Draft) -> str:
    """Return the sizes of the images that networks see."""
    settings, source = draft.plan.settings, draft.drawn[0].train.sources[0]
    (_, height, width), (_, stored_height, stored_width) = source.shape, source.stored_shape
    parts = [f"images: {width}x{height}"]
    if source.crop is not None:
        parts.append(f"in evaluation the centre of {stored_width}x{stored_height}")
    trained = {run.role for run in draft.runs if run.role == "student" or draft.plan.teacher is None}
    for role, word in (("teacher", settings.teacher), ("student", settings.student)):
        side = settings.image_size_of(role)
        if role in trained and side and (side, side) != (height, width) and has_own_size(source, MODELS.parse(word)):
            parts.append(f"the {role} resizes them to {side}x{side}")
    return "; ".join(parts)


def print_recipes(draft: Draft) -> None:
    """Print the options of the recipe of each role that is trained, those of its preset included."""
    roles = {run.role for run in draft.runs}
    for role, values in draft.record.resolved.recipes.items():
        if role in roles:
            stopped = "; stopped early, by held-out rows" if draft.plan.settings.stops_early(role) else ""
            console.print(f"{role}: {describe_recipe(values)}{stopped}", highlight=False)


def time_methods(draft: Draft, runs: Sequence[Run]) -> Iterator[TimedMethod]:
    """Time some updates of each method among the runs, teachers included, and yield each result at once."""
    plan, view = draft.plan, draft.drawn[0].train
    prepare_process(plan)
    teacher = load_network(plan, plan.teacher, TEACHER) if plan.teacher is not None else None
    kinds: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        kinds.setdefault((run.role, run.method.text), []).append(run)
    for alike in kinds.values():
        yield TimedMethod(alike[0], len(alike), estimate_training(view, alike[0], plan.settings, teacher=teacher))


def describe_precision(plan: Plan) -> str:
    """Return the precision and device of a study, as in `bf16 (teachers fp32) on cpu`."""
    return f"{plan.settings.precision} on {plan.settings.device}"


def print_load() -> None:
    """Say that estimates are high where other programs keep the machine busy."""
    cores = os.cpu_count() or 1
    others = min(measure_other_load(), cores)
    if others >= BUSY * cores:
        console.print(
            f"the machine is busy: other programs use about {others:.1f} of its {cores} cores, so these times are too long",
            highlight=False,
        )


def measure_other_load() -> float:
    """Return how many cores other processes used over the last minute; 0 where the system does not say."""
    try:
        load = os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows
        return 0.0
    # A process that is younger than a minute has contributed to the minute's average in proportion to its age.
    own = time.process_time() / max(60.0, time.monotonic() - _STARTED)
    return max(0.0, load - own)
