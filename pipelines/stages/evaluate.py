"""evaluate: measure the saved nets of a study again, on its test set, and write their results anew."""

from pipelines import planning, session
from pipelines.console import console
from robustkd.study import scheduler
from robustkd.study.evaluate import evaluate
from robustkd.study.options import StudyOptions


def main(options: StudyOptions) -> None:
    """Measure what is trained."""
    draft = planning.draft(options)
    cells = draft.cells
    session.refuse_missing(draft.plan, cells, "run")
    scheduler.prepare_process(draft.plan)
    with session.tracked(draft, "evaluate") as (plan, tracker):
        for cell in cells:
            result = evaluate(plan, cell)
            session.replay(plan, cell, tracker)
            console.print(f"{cell.name}: accuracy {result['last']['accuracy']:.3f}", markup=False)
