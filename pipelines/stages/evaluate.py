"""evaluate: evaluate the saved networks of a study again on its test set, and rewrite their results."""

from pipelines.console import console
from pipelines.planning import draft_study
from pipelines.session import log_finished, open_session, refuse_untrained
from robustkd.study.child_process import prepare_process
from robustkd.study.options import StudyOptions
from robustkd.study.run_folder import evaluate_in_folder


def main(options: StudyOptions) -> None:
    """Evaluate what is trained."""
    draft = draft_study(options)
    refuse_untrained(draft.plan, draft.runs, "run")
    prepare_process(draft.plan)
    with open_session(draft, "evaluate") as (plan, tracker):
        for run in draft.runs:
            result = evaluate_in_folder(plan, run)
            log_finished(plan, run, tracker)
            console.print(f"{run.name}: accuracy {result.last.metrics['accuracy']:.3f}")
