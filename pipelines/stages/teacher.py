"""teacher: train and evaluate a teacher for each seed, on the same data and with the same recipe as the students."""

from pipelines.console import console
from pipelines.planning import draft_study
from pipelines.session import execute_and_track, open_session
from robustkd.study.options import StudyOptions


def main(options: StudyOptions) -> None:
    """Train the teachers that a study needs."""
    draft = draft_study(options)
    runs = [run for run in draft.runs if run.role == "teacher"]
    with open_session(draft, "teacher") as (plan, tracker):
        execute_and_track(plan, runs, tracker)
    console.print(f"{len(runs)} teachers are in {plan.folder}")
