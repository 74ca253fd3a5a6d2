"""sync: send to MLflow what studies could not log while they ran."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipelines.console import console
from pipelines.session import study_lock
from pipelines.tracking.outbox import OUTBOX_FILE, Outbox
from pipelines.tracking.redaction import redact_uri
from pipelines.tracking.sender import PATIENCE, send_outbox
from pipelines.tracking.store import open_client
from robustkd.errors import ExecutionError, UsageError

TRACKING_URI = "MLFLOW_TRACKING_URI"


def main(studies: Sequence[Path]) -> None:
    """Send what is waiting in the folders of studies, or of sweeps.

    Raises:
        robustkd.errors.UsageError: a folder is not a study's, another command is at work on it, or its store cannot be opened.
        robustkd.errors.ExecutionError: MLflow has not accepted everything; the rest is kept.
    """
    if not studies:
        raise UsageError("sync: name the folders of studies, as in `robustkd sync studies/*`")
    unsent = 0
    for folder in [found for given in studies for found in find_outboxes(given)]:
        with study_lock(folder):
            unsent += sync_study(folder)
    if unsent:
        raise ExecutionError(f"{unsent} entries are not sent and are kept; the same command tries again")


def find_outboxes(folder: Path) -> list[Path]:
    """Return the folder of a study, or the folders in a folder that have an outbox.

    Raises:
        robustkd.errors.UsageError: there is neither.
    """
    if any((folder / name).exists() for name in ("study.json", "sweep.json", OUTBOX_FILE)):
        return [folder]
    if not any((each / name).exists() for each in folder.glob("*/") for name in ("study.json", "sweep.json")):
        raise UsageError(f"{folder}: this is not the folder of a study, and contains none")
    found = sorted(path.parent for path in folder.glob(f"*/{OUTBOX_FILE}"))
    if not found:
        console.print(f"{folder}: nothing is waiting to be sent to MLflow")
    return found


def sync_study(folder: Path) -> int:
    """Send what is waiting in a folder; return the number of entries that are left."""
    outbox = Outbox(folder)
    if not outbox.size:
        console.print(f"{folder}: nothing is waiting to be sent to MLflow")
        return 0
    with default_store(outbox.find_store()):
        uri = open_client().tracking_uri
        outbox.require_store(uri)
        count = outbox.count_unsent()
        if send_outbox(folder, print_report, lambda seconds: False, PATIENCE):
            console.print(f"{folder}: {count} entries are sent to {redact_uri(uri)}")
            return 0
    return max(1, outbox.count_unsent())


def print_report(text: str | None, is_away: bool) -> None:
    """Print what is reported while entries are sent."""
    if text is not None:
        console.print(text)


@contextmanager
def default_store(uri: str | None) -> Iterator[None]:
    """Use a store for the duration of the context, unless the environment names one."""
    if uri is None or TRACKING_URI in os.environ:
        yield
        return
    os.environ[TRACKING_URI] = uri
    try:
        yield
    finally:
        del os.environ[TRACKING_URI]
