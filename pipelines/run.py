"""run: all stages, one after another, in one process with one tracked run per study."""

from pipelines import compare, prepare, runs
from pipelines.screen import console
from robustkd import schedule, study
from robustkd.cell import estimate
from robustkd.options import Study


def main(options: Study, *, dry_run: bool = False) -> None:
    """Prepare, train teachers and students, evaluate and compare; or say what that would take."""
    plan = prepare.plan(options)
    cells = study.cells(options, plan.teacher is not None)
    if dry_run:
        forecast(plan, cells)
        return
    with runs.tracked(plan, "run") as tracker:
        try:
            runs.conduct(plan, cells, tracker)
        finally:
            compare.write(plan.folder)  # of what is finished, whatever failed
    compare.show(plan.folder)


def forecast(plan: study.Plan, cells: tuple[study.Cell, ...]) -> None:
    """What a study would take, from a few timed updates of each method."""
    schedule.prepare_process(plan)
    todo = [cell for cell in cells if not study.finished(plan, cell)]
    todo = [cell for cell in todo if cell.role == "student" or plan.teacher is None]  # a given one is only evaluated
    paces = {(cell.role, cell.method): cell for cell in reversed(todo)}
    told = {key: estimate(plan, cell) for key, cell in paces.items()}
    seconds = 0.0
    for cell in todo:
        updates, each = told[cell.role, cell.method]
        seconds += each
        console.print(f"{cell.name}: {updates} updates, about {each:.0f} s", markup=False)
    console.print(
        f"{len(todo)} of {len(cells)} runs to do, {plan.jobs} side by side with {plan.threads} threads each, "
        f"in {'bf16' if plan.half else 'fp32'} on {plan.device}: "
        f"about {seconds / plan.jobs:.0f} s in all, not counting evaluation",
        markup=False,
    )
