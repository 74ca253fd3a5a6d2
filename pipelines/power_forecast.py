"""What a dry run says of a study's power: which differences its seeds would find, and how many seeds others would take."""

from pathlib import Path

import numpy as np

from pipelines.planning import Draft
from robustkd.errors import UsageError
from robustkd.evaluation.power import Spread, smallest_difference
from robustkd.evaluation.significance import MIN_SEEDS
from robustkd.study.comparison import compare_runs
from robustkd.study.pairing import compared_methods
from robustkd.study.results import read_study
from robustkd.study.verdict_notes import describe_seeds

ASK = "power: --spread POINTS says what these seeds would find, from the standard deviation of paired differences over seeds"


def describe_planned_power(draft: Draft, spread: float | None) -> str:
    """Say which differences a planned study would find; how to learn it where no spread is known.

    Args:
        spread: the standard deviation over seeds of paired differences, in points; None: that of the finished runs, if at least
            two methods or seeds of the study were compared before.

    Raises:
        UsageError: the spread is not positive.
    """
    if spread is not None and not 0 < spread < np.inf:
        raise UsageError(f"--spread {spread:g}: a spread is a positive number of points, such as 0.9")
    record = draft.record
    comparisons = len(compared_methods(record.criteria).keys() - {*record.oracles})
    if not comparisons:
        return "power: nothing is compared, as the study has no baseline, or no other method"
    known = measured_spread(draft.plan.folder) if spread is None else Spread(spread / 100)
    if known is None:
        return ASK
    which = "the measured" if spread is None else "a"
    seeds = describe_seeds(known, comparisons, which)
    if record.seeds < MIN_SEEDS:
        return f"power: fewer than {MIN_SEEDS} seeds give no verdict. {seeds}"
    found = smallest_difference(record.seeds, known, comparisons)
    return f"power: {record.seeds} seeds would find differences of {100 * found:.1f} points. {seeds}"


def measured_spread(folder: Path) -> Spread | None:
    """Return the median spread of the methods that were compared in a study's folder over at least two seeds, or None."""
    try:
        verdicts = compare_runs(read_study(folder)).verdicts
    except UsageError:  # a new study
        return None
    lines = verdicts[verdicts["sd_seeds"].astype(float) > 0]
    if not len(lines):
        return None
    return Spread(float(lines["sd_seeds"].median()), float(lines["se_images"].fillna(0).median()))
