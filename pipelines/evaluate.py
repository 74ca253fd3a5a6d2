"""evaluate: measure the saved nets of a study again, on its test set, and write their results anew."""

from pipelines import prepare, runs
from pipelines.screen import console
from robustkd import schedule
from robustkd.measure import evaluate
from robustkd.options import Study


def main(options: Study) -> None:
    """Measure what is trained."""
    draft = prepare.draft(options)
    cells = draft.cells
    runs.refuse_missing(draft.plan, cells, "run")
    schedule.prepare_process(draft.plan)
    with runs.tracked(draft, "evaluate") as (plan, tracker):
        for cell in cells:
            result = evaluate(plan, cell)
            runs.replay(plan, cell, tracker)
            console.print(f"{cell.name}: accuracy {result['last']['accuracy']:.3f}", markup=False)
