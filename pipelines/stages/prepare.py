"""prepare: read the data, split it, apply the scenario, and write down what each data seed is shown."""

from pipelines.console import console
from pipelines.planning import draft_study
from pipelines.session import open_session
from robustkd.study.options import StudyOptions


def main(options: StudyOptions) -> None:
    """Write a study's folder with its record and manifests."""
    with open_session(draft_study(options), "prepare") as (plan, _):
        console.print(f"prepared in {plan.folder}")
