"""distil: train and evaluate every method of a study for each seed, from the teachers that are there."""

from pipelines import planning, session
from pipelines.console import console
from robustkd.study.options import StudyOptions


def main(options: StudyOptions) -> None:
    """Train the students of a study."""
    draft = planning.draft(options)
    cells = draft.cells
    session.refuse_missing(draft.plan, [cell for cell in cells if cell.role == "teacher"], "teacher")
    with session.tracked(draft, "distil") as (plan, tracker):
        session.conduct(plan, [cell for cell in cells if cell.role == "student"], tracker)
    console.print(f"the students are in {plan.folder}", markup=False)
