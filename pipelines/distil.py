"""distil: train and evaluate every method of a study for each seed, from the teachers that are there."""

from pipelines import prepare, runs
from pipelines.screen import console
from robustkd.options import Study


def main(options: Study) -> None:
    """Train the students of a study."""
    draft = prepare.draft(options)
    cells = draft.cells
    runs.refuse_missing(draft.plan, [cell for cell in cells if cell.role == "teacher"], "teacher")
    with runs.tracked(draft, "distil") as (plan, tracker):
        runs.conduct(plan, [cell for cell in cells if cell.role == "student"], tracker)
    console.print(f"the students are in {plan.folder}", markup=False)
