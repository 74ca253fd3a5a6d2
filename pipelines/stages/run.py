"""run: all stages, one after another, in one process with one tracked run per study."""

from pipelines import planning, session
from pipelines.console import console
from pipelines.stages import compare
from robustkd.study import plan as study
from robustkd.study import scheduler
from robustkd.study.options import StudyOptions
from robustkd.study.run import estimate


def main(options: StudyOptions, *, dry_run: bool = False) -> None:
    """Prepare, train teachers and students, evaluate and compare; or say what that would take."""
    draft = planning.draft(options)
    if dry_run:
        forecast(draft, draft.cells)
        return
    whole(draft)
    compare.show(draft.plan.folder)


def whole(draft: planning.Draft, sweep: str | None = None) -> None:
    """All stages of a study, which may be one of a sweep.

    Raises:
        robustkd.errors.ExecutionError: some runs failed; the others are finished and compared.
    """
    cells = draft.cells
    with session.tracked(draft, "run", sweep) as (plan, tracker):
        try:
            session.conduct(plan, cells, tracker)
        finally:
            compare.write(plan.folder)  # of what is finished, whatever failed


def undone(plan: study.Plan, cells: tuple[study.Run, ...]) -> tuple[list[study.Run], list[study.Run]]:
    """The runs to do, and those among them that train: a given teacher does not."""
    todo = [cell for cell in cells if plan.options.fresh or not study.finished(plan, cell)]
    return todo, [cell for cell in todo if cell.role == "student" or plan.teacher is None]


def forecast(draft: planning.Draft, cells: tuple[study.Run, ...]) -> None:
    """Say what a study would take, from a few timed updates of each method, and leave nothing behind."""
    plan, view = draft.plan, draft.drawn[0].train
    scheduler.prepare_process(plan)
    todo, timed = undone(plan, cells)
    kinds = {(cell.role, cell.method): cell for cell in reversed(timed)}
    told = {kind: estimate(plan, cell, view) for kind, cell in kinds.items()}
    for cell in timed:
        updates, seconds = told[cell.role, cell.method]
        console.print(f"{cell.name}: {updates} updates, about {seconds:.0f} s", markup=False)
    total = sum(told[cell.role, cell.method][1] for cell in timed)
    console.print(
        f"{len(todo)} of {len(cells)} runs to do, {plan.jobs} side by side with {plan.threads} threads each, "
        f"in {'bf16' if plan.half else 'fp32'} on {plan.device}: "
        f"about {total / plan.jobs:.0f} s in all, not counting evaluation",
        markup=False,
    )
