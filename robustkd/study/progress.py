"""How far a run is: the epochs behind it, and what its network predicted on held-out rows after each, paused or trained."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustkd.study.plan import Plan, Run
from robustkd.study.results import TEACHER, read_epochs
from robustkd.study.run_folder import (
    UNFINISHED,
    is_finished,
    is_trained,
    parse_rows,
    read_npz,
    read_unfinished,
)
from robustkd.study.stopping import epochs_of_share
from robustkd.study.versions import method_version


class RunProgress(NamedTuple):
    """The epochs of a run so far.

    Attributes:
        history: a row per epoch, as in epochs.csv.
        total: epochs of the whole run.
        phases: of its method.
        held_out: predicted classes of the held-out rows after each epoch (e, N).
    """

    history: pd.DataFrame
    total: int
    phases: int
    held_out: NDArray[np.int16]

    @property
    def epochs(self) -> int:
        """How many are behind it."""
        return len(self.history)

    def is_in_last_phase(self, epoch: int) -> bool:
        """Whether the last of the phases had begun in an epoch, counted from 1."""
        return self.history["phase"].iloc[:epoch].nunique() >= self.phases


def read_progress(plan: Plan, run: Run) -> RunProgress | None:
    """Read how far a run is, from its files or from its saved state; None where it has not begun."""
    folder = plan.run_folder(run)
    if is_trained(plan, run):
        return _read_trained(folder)
    path = folder / UNFINISHED
    if not path.exists():
        return None
    stat = path.stat()
    return _read_paused(folder, method_version(run.method), stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size)


@lru_cache(maxsize=1024)
def _read_paused(folder: Path, version: str, *_: int) -> RunProgress | None:
    """Read a saved state once: it contains weights, and its times and size stand for its content within a process."""
    state = read_unfinished(folder, version)
    if state is None or "total" not in state:
        return None
    epochs, phases = state["total"]
    return RunProgress(parse_rows(state), epochs, phases, np.asarray(state.get("held_out", np.zeros((0, 0), np.int16))))


def _read_trained(folder: Path) -> RunProgress | None:
    path = folder / "epochs.csv"
    if not path.exists():  # a teacher that was trained elsewhere
        return None
    history = read_epochs(path)
    held_out = read_npz(folder / "held_out.npz").get("predicted", np.zeros((0, 0), np.int16))
    return RunProgress(history, len(history), history["phase"].nunique(), held_out)


def is_done(plan: Plan, run: Run) -> bool:
    """Whether nothing is left to do for a run: it is finished, or, in a race, a student is trained for the plan's share."""
    if plan.share is None or run.role == TEACHER:
        return is_finished(plan, run)
    if is_trained(plan, run):
        return True
    progress = read_progress(plan, run) if plan.share < 1 else None
    return progress is not None and progress.epochs >= epochs_of_share(plan.share, progress.total)
