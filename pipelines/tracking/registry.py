"""Which model MLflow has of a net, what its run says of it, and its versions in the model registry."""

import io
import json
import re
from contextlib import redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipelines.tracking.store import client, line, shown
from robustkd.errors import ExecutionError, UsageError

if TYPE_CHECKING:
    from robustkd.study.results import RunResult, StudyRecord


class Registered(NamedTuple):
    """A version of a registered model."""

    version: str
    new: bool  # whether it was made now: the same model is registered under a name once
    uri: str  # models:/NAME@ALIAS, or models:/NAME/VERSION
    before: str | None  # the version that the alias named until now, where it was another


def checked(name: str, alias: str | None) -> None:
    """Refuse a name or an alias that MLflow would not take, before anything is done.

    >>> checked("digits", "candidate")
    >>> checked("digits", "v2")
    Traceback (most recent call last):
    robustkd.errors.UsageError: --alias v2: letters, digits, _ and - make an alias, but not 'latest' and no version such as v2
    """
    if not name.strip(" .") or re.search(r"[/:]", name):
        raise UsageError(f"--register '{name}': a name is any text without '/' and ':'")
    if alias is not None and (
        not re.fullmatch(r"[\w-]+", alias, re.ASCII) or re.fullmatch(r"latest|v\d+", alias, re.IGNORECASE)
    ):
        raise UsageError(
            f"--alias {alias}: letters, digits, _ and - make an alias, but not 'latest' and no version such as v2"
        )


def noted(net: Path) -> str:
    """The MLflow model of a net that lies in a run's folder, by the note that tracking left there.

    Raises:
        robustkd.errors.UsageError: there is none, or it is in another store.
    """
    if net.name != "model.pt":
        raise UsageError(f"{net}: MLflow has models of the last epoch only, and that is model.pt")
    try:
        mark = json.loads((net.parent / "tracked.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UsageError(
            f"{net}: no tracked.json beside it names a model in MLflow: `robustkd run` with the study's words and "
            "`--tracker mlflow` logs what is there"
        ) from None
    if not mark.get("model_uri"):
        raise UsageError(f"{net}: MLflow has its run but no model of it: models are logged of students")
    here = shown(client().tracking_uri)
    if mark["tracking_uri"] != here:
        raise UsageError(
            f"{net}: its model is in {mark['tracking_uri']}, and this is {here}: set MLFLOW_TRACKING_URI to the former"
        )
    return str(mark["model_uri"])


def logged(reference: str) -> tuple[str, str | None]:
    """The model that a run id or a URI names, as models:/ID, and the run that logged it.

    Raises:
        robustkd.errors.UsageError: there is none, or MLflow cannot be asked.
    """
    uri = shown(client().tracking_uri)
    from mlflow.models import get_model_info

    place = reference.rstrip("/") if ":" in reference else f"runs:/{reference}"
    if place.endswith(".pt"):
        place, _, name = place.rpartition("/")
        if name != "model.pt":
            raise UsageError(f"{reference}: MLflow has models of the last epoch only, and that is model.pt")
    place += "/model" if re.fullmatch("runs:/[^/]+", place) else ""
    try:
        info = get_model_info(place)
    except Exception:  # each kind of store has its own way to say no
        info = None
    if info is None or not info.model_id:
        raise UsageError(f"{reference}: {shown(uri)} has no model under this name (models are logged of students)")
    return f"models:/{info.model_id}", info.run_id


def fetch_records(reference: str) -> "tuple[RunResult | None, StudyRecord | None]":
    """Return what MLflow has of a network's result.json and of its study.json; None where it has none."""
    from robustkd.study.results import RunResult, StudyRecord, parse_document

    here = client()
    from mlflow.artifacts import load_text

    named = re.match(r"(?:runs:/)?([0-9a-f]{32})(?:/|$)", reference)
    result = study = None
    try:
        run = str(named[1] if named else logged(reference)[1])
        result = parse_document(load_text(f"runs:/{run}/result.json"), RunResult, reference)
        parent = here.get_run(run).data.tags["mlflow.parentRunId"]
        study = parse_document(load_text(f"runs:/{parent}/config.json"), StudyRecord, reference)
    except Exception:  # a run of an earlier version, or one whose files were deleted: what was found is enough
        pass
    return result, study


def register(uri: str, name: str, alias: str | None) -> Registered:
    """Make the model models:/ID a version of a registered one, once, and give it the alias.

    Raises:
        robustkd.errors.ExecutionError: the registry does not take it.
    """
    here = client()
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        there = [v for v in here.search_model_versions(f"source_path = '{uri}'") if v.name == name]
        with redirect_stderr(io.StringIO()):  # MLflow tells each step
            version = str((there[0] if there else mlflow.register_model(uri, name)).version)
        if alias is None:
            return Registered(version, not there, f"models:/{name}/{version}", None)
        aliases = {key: str(value) for key, value in here.get_registered_model(name).aliases.items()}
        here.set_registered_model_alias(name, alias, version)
    except MlflowException as error:
        raise ExecutionError(
            f"the registry in {shown(here.tracking_uri)} did not take it as {name} ({line(error)})"
        ) from None
    before = aliases.get(alias)
    return Registered(version, not there, f"models:/{name}@{alias}", None if before == version else before)
