"""tracked.json: which runs of MLflow hold what is in a folder, so that a repeated command does not log it again.

STUDY/tracked.json            the parent run of each stage
STUDY/runs/NAME/tracked.json  the child run, its model, and a digest of the result that it holds
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipelines.tracking.redaction import redact_uri
from robustkd.atomic import write_text_atomically

TRACKED_FILE = "tracked.json"


@dataclass(frozen=True)
class TrackedRun:
    """The child run of a finished run.

    Attributes:
        tracking_uri: the store, without secrets.
        model_uri: models:/ID; None where no model is logged.
        digest: of the logged result.json; empty where an earlier version logged it.
    """

    run_id: str
    tracking_uri: str
    model_uri: str | None = None
    digest: str = ""


@dataclass(frozen=True)
class TrackedStudy:
    """The parent runs of a study or a sweep.

    Attributes:
        tracking_uri: the store, without secrets.
        run_ids: of the newest parent run, by stage.
        notes: digests of the descriptions that were written to them, by stage; a user may have edited them since.
    """

    tracking_uri: str
    run_ids: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)


def read_tracked_run(folder: Path) -> TrackedRun | None:
    """Return the child run that a run's folder names, or None."""
    content = _read_object(folder / TRACKED_FILE)
    try:
        return TrackedRun(**content) if content else None
    except TypeError:  # fields of another version
        return None


def read_tracked_study(folder: Path) -> TrackedStudy | None:
    """Return the parent runs that a study's folder names, or None."""
    content = _read_object(folder / TRACKED_FILE)
    try:
        return TrackedStudy(**content) if content else None
    except TypeError:
        return None


def write_tracked(folder: Path, tracked: TrackedRun | TrackedStudy) -> None:
    """Write tracked.json into a folder."""
    write_text_atomically(folder / TRACKED_FILE, json.dumps(asdict(tracked), indent=2))


def _read_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; empty if there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    if "tracking_uri" in content:  # earlier versions kept the query
        content["tracking_uri"] = redact_uri(str(content["tracking_uri"]))
    return content
