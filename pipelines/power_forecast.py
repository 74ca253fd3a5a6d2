"""What a dry run says of a study's power: which differences its seeds would find, and how many seeds others would take."""

from pathlib import Path

import numpy as np

from pipelines.planning import Draft
from robustkd.errors import UsageError
from robustkd.evaluation.power import Spread, smallest_difference
from robustkd.evaluation.significance import MIN_SEEDS
from robustkd.study.comparison import compare_runs
from robustkd.study.results import LoadedStudy, read_study
from robustkd.study.verdict_notes import describe_seeds
from robustkd.study.verdicts import count_comparisons, median_spread

ASK = "power: --spread POINTS says what these seeds would find, from the standard deviation of paired differences over seeds"


def describe_planned_power(draft: Draft, spread: float | None) -> str:
    """Say which differences a planned study would find; how to learn it where no spread is known.

    As in the study's verdicts, Holm's correction is over all methods that it ever compared.

    Args:
        spread: the standard deviation over seeds of paired differences, in points; None: that of the finished runs, if at least
            two methods or seeds of the study were compared before. The standard error over test images is always theirs.

    Raises:
        UsageError: the spread is not positive.
    """
    if spread is not None and not 0 < spread < np.inf:
        raise UsageError(f"--spread {spread:g}: a spread is a positive number of points, such as 0.9")
    record, earlier = draft.record, find_earlier(draft.plan.folder)
    comparisons = count_comparisons(record, earlier.results if earlier else [])
    if not comparisons:
        return "power: nothing is compared, as the study has no baseline, or no other method"
    measured = measured_spread(earlier)
    known = measured if spread is None else Spread(spread / 100, measured.images if measured else 0.0)
    if known is None:
        return ASK
    which = "the measured" if spread is None else "a"
    seeds = describe_seeds(known, comparisons, which)
    if record.seeds < MIN_SEEDS:
        return f"power: fewer than {MIN_SEEDS} seeds give no verdict. {seeds}"
    found = smallest_difference(record.seeds, known, comparisons)
    return f"power: {record.seeds} seeds would find differences of {100 * found:.1f} points. {seeds}"


def find_earlier(folder: Path) -> LoadedStudy | None:
    """Return what a study's folder holds, or None if it is new."""
    try:
        return read_study(folder)
    except UsageError:
        return None


def measured_spread(study: LoadedStudy | None) -> Spread | None:
    """Return the median spread of the methods that were compared in a study over at least two seeds, or None."""
    if study is None:
        return None
    verdicts = compare_runs(study).verdicts
    lines = verdicts[verdicts["sd_seeds"].astype(float) > 0]
    return median_spread(lines) if len(lines) else None
