"""Run a race of contenders: rungs are trained as paused runs of one study, and judged on held-out rows."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipelines import tracking
from pipelines.console import console
from pipelines.forecast import time_methods
from pipelines.planning import Draft
from pipelines.session import execute_and_track
from robustkd.errors import ExecutionError, StudyPaused
from robustkd.selection.budget import Costs
from robustkd.selection.race import Rung, Standing, judge_rung, score_rows
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


def train_rung(plan: Plan, contenders: Sequence[str], rung: Rung, tracker: tracking.Tracker) -> list[Run]:
    """Train the contenders of a rung; return its runs.

    Raises:
        StudyPaused: the time that the user gave is over.
        ExecutionError: no contender could be trained.
    """
    runs = rung_runs(plan, contenders, rung)
    try:
        execute_and_track(replace(plan, share=rung.share), runs, tracker)
    except StudyPaused:
        raise  # nothing has failed: the rung is judged when it is finished
    except ExecutionError as error:
        if not any(_is_complete(_read_seeds(plan, name, rung), rung) for name in contenders):
            raise
        console.print(f"{error}; the race continues without what failed")
    return runs


def judge(plan: Plan, contenders: Sequence[str], rung: Rung) -> list[Standing]:
    """Judge the contenders of a rung from their predictions on held-out rows."""
    first = plan.options.first_seed
    labels = {seed: load_views(plan, seed).held_out.labels for seed in range(first, first + rung.seeds)}
    correct, tie_breaks = dict[str, list[NDArray[np.float64]]](), dict[str, float]()
    unjudged, failed = [], []
    for name in contenders:
        progress = _read_seeds(plan, name, rung)
        if not _is_complete(progress, rung):
            failed.append(Standing(name, None, 0.0, 0.0, False, "failed"))
        elif not all(each.is_in_last_phase(epochs_of_share(rung.share, each.total)) for each in progress.values()):
            unjudged.append(name)
        else:
            runs = [(p.held_out, labels[seed], epochs_of_share(rung.share, p.total)) for seed, p in progress.items()]
            correct[name] = [score_rows(*run) for run in runs]
            tie_breaks[name] = float(np.mean([score_rows(*run, from_start=True) for run in runs]))
    return judge_rung(correct, rung.places, unjudged, is_partial=rung.share < 1, tie_breaks=tie_breaks) + failed


def _read_seeds(plan: Plan, contender: str, rung: Rung) -> dict[int, RunProgress]:
    """Read the progress of a contender's runs that have begun, by seed."""
    students = [run for run in rung_runs(plan, [contender], rung) if run.role != TEACHER]
    return {run.seed: progress for run in students if (progress := read_progress(plan, run)) is not None}


def _is_complete(progress: Mapping[int, RunProgress], rung: Rung) -> bool:
    """Whether all seeds of a contender are trained as far as the rung requires."""
    trained = [len(each.held_out) >= epochs_of_share(rung.share, each.total) for each in progress.values()]
    return len(trained) == rung.seeds and all(trained)


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
        whole = [whole_seconds(each) for each in _read_seeds(plan, name, rung).values() if each.epochs]
        measured[name] = float(np.mean(whole)) if whole else expected.contenders[name]
    ratio = np.median([measured[name] / max(expected.contenders[name], 1e-9) for name in contenders])
    return Costs(measured, expected.teacher * float(ratio), expected.baseline * float(ratio))


def whole_seconds(progress: RunProgress) -> float:
    """Return the seconds of a whole run, by its epochs so far; the first, in which a process warms up, counts only if alone."""
    seconds = progress.history["seconds"].to_numpy(dtype=np.float64)
    return float(np.mean(np.diff(seconds)) if len(seconds) > 1 else seconds[0]) * progress.total
