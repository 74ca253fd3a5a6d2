"""run: all stages one after another, in one process with one tracked run per study."""

from pathlib import Path

from pipelines.console import console
from pipelines.forecast import print_forecast
from pipelines.planning import Draft, draft_study
from pipelines.power_forecast import describe_planned_power
from pipelines.session import Group, execute_and_track, open_session
from pipelines.stages import compare
from robustkd.errors import ExecutionError, UsageError
from robustkd.study.options import StudyOptions


def main(options: StudyOptions, *, dry_run: bool = False, spread: float | None = None) -> None:
    """Prepare, train teachers and students, evaluate and compare; or estimate what that would take, and what it would find.

    Args:
        spread: of a dry run, see `describe_planned_power`.

    Raises:
        UsageError: there is a spread, but no dry run.
    """
    if spread is not None and not dry_run:
        raise UsageError(f"--spread {spread:g}: it belongs to --dry-run, and changes nothing in a study")
    draft = draft_study(options)
    if dry_run:
        power = describe_planned_power(draft, spread)
        print_forecast(draft)
        console.print(power, highlight=False)
        return
    run_stages(draft)
    compare.show_study(draft.plan.folder)


def run_stages(draft: Draft, group: Group | None = None) -> None:
    """Run all stages of a study, which may be one of a group.

    Raises:
        robustkd.errors.ExecutionError: some runs failed; the others are finished and compared.
    """
    with open_session(draft, "run", group) as (plan, tracker):
        try:
            execute_and_track(plan, draft.runs, tracker)
        except ExecutionError:
            compare_finished_runs(plan.folder)
            raise
        compare.write_comparison(plan.folder)


def compare_finished_runs(folder: Path) -> None:
    """Compare what is finished of a study that failed; if that fails too, the reason of the first failure is not hidden."""
    try:
        compare.write_comparison(folder)
    except Exception as error:  # such as a lack of memory
        console.print(f"{folder}: what is finished cannot be compared ({type(error).__name__}: {error})")
