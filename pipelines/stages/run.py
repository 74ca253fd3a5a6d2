"""run: all stages one after another, in one process with one tracked run per study."""

from collections.abc import Sequence

from pipelines.console import console
from pipelines.planning import Draft, draft_study
from pipelines.session import execute_and_track, open_session
from pipelines.stages import compare
from robustkd.study.options import StudyOptions
from robustkd.study.plan import Plan, Run
from robustkd.study.run import estimate_training
from robustkd.study.run_folder import is_finished, load_network
from robustkd.study.scheduler import prepare_process


def main(options: StudyOptions, *, dry_run: bool = False) -> None:
    """Prepare, train teachers and students, evaluate and compare; or estimate what that would take."""
    draft = draft_study(options)
    if dry_run:
        print_forecast(draft)
        return
    run_stages(draft)
    compare.show_study(draft.plan.folder)


def run_stages(draft: Draft, sweep: str | None = None) -> None:
    """Run all stages of a study, which may be one of a sweep.

    Raises:
        robustkd.errors.ExecutionError: some runs failed; the others are finished and compared.
    """
    with open_session(draft, "run", sweep) as (plan, tracker):
        try:
            execute_and_track(plan, draft.runs, tracker)
        finally:
            compare.write_comparison(plan.folder)  # of what is finished, whatever failed


def unfinished_runs(plan: Plan, runs: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """Return the runs to do, and those among them that train: a teacher that the user gave does not."""
    todo = [run for run in runs if plan.options.fresh or not is_finished(plan, run)]
    return todo, [run for run in todo if run.role == "student" or plan.teacher is None]


def print_forecast(draft: Draft) -> None:
    """Estimate what a study would take, from a few timed updates of each method, without writing anything."""
    plan, view = draft.plan, draft.drawn[0].train
    prepare_process(plan)
    todo, training = unfinished_runs(plan, draft.runs)
    teacher = load_network(plan, plan.teacher) if plan.teacher is not None else None
    kinds = {(run.role, run.method): run for run in reversed(training)}
    estimates = {kind: estimate_training(view, run, plan.settings, teacher=teacher) for kind, run in kinds.items()}
    for run in training:
        updates, seconds = estimates[run.role, run.method]
        console.print(f"{run.name}: {updates} updates, about {seconds:.0f} s", markup=False)
    total = sum(estimates[run.role, run.method][1] for run in training)
    console.print(
        f"{len(todo)} of {len(draft.runs)} runs to do, {plan.jobs} in parallel with {plan.threads} threads each, "
        f"in {'bf16' if plan.settings.bf16 else 'fp32'} on {plan.settings.device}: "
        f"about {total / plan.jobs:.0f} s in all, not counting evaluation",
        markup=False,
    )
