"""teacher: train and evaluate a teacher for each seed, on the same corrupted data and by the same recipe as the students."""

from pipelines import prepare, runs
from pipelines.screen import console
from robustkd.options import Study


def main(options: Study) -> None:
    """Train the teachers a study needs."""
    draft = prepare.draft(options)
    cells = [cell for cell in draft.cells if cell.role == "teacher"]
    with runs.tracked(draft, "teacher") as (plan, tracker):
        runs.conduct(plan, cells, tracker)
    console.print(f"{len(cells)} teachers are in {plan.folder}", markup=False)
