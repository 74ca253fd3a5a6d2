"""The rules that choose the epoch of the network that is stopped early, by its accuracy on the held-out rows.

    best       the epoch of the highest accuracy
    smoothed   the last of the WINDOW successive epochs whose mean accuracy is the highest

Held-out rows are few and, under label noise, as noisy as the training rows: 136 of them at 40 % wrong labels have a standard
error of 4.2 points, and the highest of many such accuracies is partly luck. A moving average has less of it, and one over past
epochs needs no other networks than the present one. What both rules lose is measured by benchmarks/early_stopping.py.
"""

import math
from collections.abc import Sequence

from robustkd.errors import UsageError
from robustkd.study.options import StudyOptions
from robustkd.types import EarlyRule

# Epochs that the accuracy is averaged over, the present one last.
WINDOWS: dict[EarlyRule, int] = {"best": 1, "smoothed": 3}


def stopping_score(accuracies: Sequence[float], rule: EarlyRule, epochs: int) -> float:
    """Return by what the present epoch is compared with others: the highest is chosen, the first of equal ones.

    Args:
        accuracies: on the held-out rows, of all epochs so far.
        epochs: of the whole run; where it has fewer than the window, the average is over all of them.

    Returns:
        NaN while the window is not full, and without held-out rows.

    >>> [stopping_score([0.5, 1.0, 0.75, 0.5][:n], "smoothed", 4) for n in (2, 3, 4)]
    [nan, 0.75, 0.75]
    """
    window = min(WINDOWS[rule], epochs)
    # fsum: the mean of the same accuracies in another order is equal to the last digit.
    return math.fsum(accuracies[-window:]) / window if len(accuracies) >= window else math.nan


def check_early_stopping(options: StudyOptions, held_out: int, has_teacher: bool) -> None:
    """Refuse options about early stopping that would have no effect.

    Args:
        held_out: number of held-out rows.
        has_teacher: whether the user gave a trained teacher.

    Raises:
        UsageError: there are no held-out rows to choose an epoch by, or no epochs of the teacher to choose from.
    """
    given = {"early-rule": (options.early_rule, "best"), "teacher-stop": (options.teacher_stop, "last")}
    for name, (value, default) in given.items():
        if value != default and not held_out:
            raise UsageError(f"--{name} {value}: the epoch is chosen by held-out rows, and no rows are held out")
    if has_teacher and options.teacher_stop != "last":
        raise UsageError(
            f"--teacher-stop {options.teacher_stop}: the teacher {options.teacher} is already trained, so its epoch cannot be"
            " chosen; give the early.pt of its run instead"
        )
