"""teacher: train and evaluate a teacher for each seed, on the same corrupted data and by the same recipe as the students."""

from pipelines import planning, session
from pipelines.console import console
from robustkd.study.options import StudyOptions


def main(options: StudyOptions) -> None:
    """Train the teachers a study needs."""
    draft = planning.draft(options)
    cells = [cell for cell in draft.cells if cell.role == "teacher"]
    with session.tracked(draft, "teacher") as (plan, tracker):
        session.conduct(plan, cells, tracker)
    console.print(f"{len(cells)} teachers are in {plan.folder}", markup=False)
