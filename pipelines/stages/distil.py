"""distil: train and evaluate every method of a study for each seed, from teachers that are already trained."""

from pipelines.console import console
from pipelines.planning import draft_study
from pipelines.session import execute_and_track, open_session, refuse_untrained
from robustkd.study.options import StudyOptions


def main(options: StudyOptions) -> None:
    """Train the students of a study."""
    draft = draft_study(options)
    refuse_untrained(draft.plan, [run for run in draft.runs if run.role == "teacher"], "teacher")
    with open_session(draft, "distil") as (plan, tracker):
        execute_and_track(plan, [run for run in draft.runs if run.role == "student"], tracker)
    console.print(f"the students are in {plan.folder}")
