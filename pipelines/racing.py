"""A race of contenders at work: rungs are trained as paused runs of one study, and judged on held-out rows."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipelines import tracking
from pipelines.console import console
from pipelines.forecast import time_methods
from pipelines.planning import Draft
from pipelines.session import execute_and_track
from robustkd.errors import ExecutionError
from robustkd.selection.budget import Costs
from robustkd.selection.race import Rung, Standing, judge_rung, window
from robustkd.selection.score import weighted_correctness
from robustkd.study.plan import Plan, Run, list_runs
from robustkd.study.progress import RunProgress, read_progress
from robustkd.study.results import BASELINE, TEACHER
from robustkd.study.run_folder import load_views
from robustkd.study.stopping import epochs_of_share


def time_costs(draft: Draft) -> Costs:
    """Time some updates of every contender, of plain training and of the teachers."""
    first = draft.plan.options.first_seed
    runs = {(run.role, run.method.text): run for run in draft.runs if run.seed == first}
    plain = replace(draft.plan.options, methods=BASELINE, seeds=1)
    runs |= {(run.role, run.method.text): run for run in list_runs(plain, draft.plan.teacher is not None)}
    trained = [run for run in runs.values() if run.role != TEACHER or draft.plan.teacher is None]
    teacher, students = 0.0, dict[str, float]()
    for timed in time_methods(draft, trained):
        console.print(timed.describe())
        if timed.run.role == TEACHER:
            teacher += timed.estimate.seconds
        else:
            students[timed.run.method.text] = timed.estimate.seconds
    contenders = [run.method.text for run in runs.values() if run.role != TEACHER and run.method.text != BASELINE]
    return Costs({name: students[name] for name in contenders}, teacher, students[BASELINE])


def rung_runs(plan: Plan, contenders: Sequence[str], rung: Rung) -> list[Run]:
    """Return the runs of a rung, teachers first."""
    options = replace(plan.options, methods=",".join(contenders), seeds=rung.seeds)
    return list(list_runs(options, plan.teacher is not None))


def run_rung(
    plan: Plan, contenders: Sequence[str], rung: Rung, tracker: tracking.Tracker
) -> tuple[list[Standing], list[Run]]:
    """Train the contenders of a rung, and decide who continues; also return the rung's runs.

    Raises:
        ExecutionError: no contender could be trained.
    """
    plan, runs = replace(plan, share=rung.share), rung_runs(plan, contenders, rung)
    try:
        execute_and_track(plan, runs, tracker)
    except ExecutionError as error:
        if not any(_is_complete(plan, name, rung) for name in contenders):
            raise
        console.print(f"{error}; the race goes on without what failed")
    return judge(plan, contenders, rung), runs


def judge(plan: Plan, contenders: Sequence[str], rung: Rung) -> list[Standing]:
    """Judge the contenders of a rung from their predictions on held-out rows."""
    correct: dict[str, list[NDArray[np.float64]]] = {}
    unjudged, failed = [], []
    for name in contenders:
        progress = _progress(plan, name, rung)
        if not _is_complete(plan, name, rung):
            failed.append(Standing(name, None, 0.0, 0.0, False, "failed"))
        elif not all(each.is_in_last_phase(epochs_of_share(rung.share, each.total)) for each in progress if each):
            unjudged.append(name)
        else:
            correct[name] = [
                _correctness(plan, seed, each, rung.share) for seed, each in progress_by_seed(plan, progress)
            ]
    return judge_rung(correct, rung.places, unjudged, is_partial=rung.share < 1) + failed


def progress_by_seed(plan: Plan, progress: Sequence[RunProgress | None]) -> list[tuple[int, RunProgress]]:
    """Return the progress of runs that have begun, with their seeds."""
    return [(plan.options.first_seed + place, each) for place, each in enumerate(progress) if each is not None]


def _progress(plan: Plan, contender: str, rung: Rung) -> list[RunProgress | None]:
    return [read_progress(plan, run) for run in rung_runs(plan, [contender], rung) if run.role != TEACHER]


def _is_complete(plan: Plan, contender: str, rung: Rung) -> bool:
    """Whether all seeds of a contender are trained as far as the rung requires."""
    progress = _progress(plan, contender, rung)
    return all(each is not None and len(each.held_out) >= epochs_of_share(rung.share, each.total) for each in progress)


def _correctness(plan: Plan, seed: int, progress: RunProgress, share: float) -> NDArray[np.float64]:
    last = epochs_of_share(share, progress.total)
    labels = load_views(plan, seed).held_out.labels
    return weighted_correctness(progress.held_out[last - window(last) : last], labels)


def seconds_at(plan: Plan, runs: Sequence[Run], share: float) -> float:
    """Return the seconds of training that runs took up to a share of their epochs; teachers are trained whole."""
    seconds = 0.0
    for run in runs:
        progress = read_progress(plan, run)
        if progress is not None and progress.epochs:
            last = progress.total if run.role == TEACHER else epochs_of_share(share, progress.total)
            seconds += float(progress.history["seconds"].iloc[min(last, progress.epochs) - 1])
    return seconds


def measure_costs(plan: Plan, contenders: Sequence[str], rung: Rung, expected: Costs) -> Costs:
    """Return the costs of contenders as their runs were timed so far, and as expected where they were not."""
    measured = {}
    for name in contenders:
        known = [each for each in _progress(plan, name, rung) if each is not None and each.epochs]
        whole = [each.seconds / each.epochs * each.total for each in known]
        measured[name] = float(np.mean(whole)) if whole else expected.contenders[name]
    ratio = np.median([measured[name] / max(expected.contenders[name], 1e-9) for name in contenders])
    return Costs(measured, expected.teacher * float(ratio), expected.baseline * float(ratio))
