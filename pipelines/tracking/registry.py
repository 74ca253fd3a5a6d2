"""MLflow models of networks, the results of their runs, and versions in MLflow's model registry."""

import io
import json
import re
from contextlib import redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipelines.tracking.entities import PARENT_TAG
from pipelines.tracking.redaction import redact_uri
from pipelines.tracking.store import open_client, summarise_error
from robustkd.errors import ExecutionError, UsageError

if TYPE_CHECKING:
    from robustkd.study.results import RunResult, StudyRecord


class RegisteredVersion(NamedTuple):
    """A version of a registered model.

    Attributes:
        version: its number.
        is_new: whether it was created now; a model is registered under a name only once.
        uri: models:/NAME@ALIAS, or models:/NAME/VERSION.
        previous: the version that the alias named before, None if it is new or the same.
    """

    version: str
    is_new: bool
    uri: str
    previous: str | None


def require_valid_names(name: str, alias: str | None) -> None:
    """Raise a UsageError for a name or an alias that MLflow does not accept.

    >>> require_valid_names("digits", "candidate")
    >>> require_valid_names("digits", "v2")
    Traceback (most recent call last):
    robustkd.errors.UsageError: --alias v2: use letters, digits, _ and -, but not 'latest' or a version such as v2
    """
    if not name.strip(" .") or re.search(r"[/:]", name):
        raise UsageError(f"--register '{name}': a name must not be empty, and must not contain '/' or ':'")
    if alias is not None and (
        not re.fullmatch(r"[\w-]+", alias, re.ASCII) or re.fullmatch(r"latest|v\d+", alias, re.IGNORECASE)
    ):
        raise UsageError(f"--alias {alias}: use letters, digits, _ and -, but not 'latest' or a version such as v2")


def read_model_uri(path: Path) -> str:
    """Return the URI of the MLflow model of a network in a run's folder, from the tracked.json next to it.

    Raises:
        robustkd.errors.UsageError: there is no such model, or it is in another store.
    """
    if path.name != "model.pt":
        raise UsageError(f"{path}: MLflow has models of the last epoch only, which is model.pt")
    try:
        logged = json.loads((path.parent / "tracked.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UsageError(
            f"{path}: no tracked.json next to it names a model in MLflow: `robustkd run` with the study's options and "
            "`--tracker mlflow` logs it"
        ) from None
    if not logged.get("model_uri"):
        raise UsageError(f"{path}: MLflow has its run but no model of it: only students are logged as models")
    uri = redact_uri(open_client().tracking_uri)
    if logged["tracking_uri"] != uri:
        raise UsageError(
            f"{path}: its model is in {logged['tracking_uri']}, and this is {uri}: set MLFLOW_TRACKING_URI to the former"
        )
    return str(logged["model_uri"])


def find_logged_model(reference: str) -> tuple[str, str | None]:
    """Return the model of a run id or a URI, as models:/ID, and the id of the run that logged it.

    Raises:
        robustkd.errors.UsageError: there is no such model, or MLflow does not answer.
    """
    uri = redact_uri(open_client().tracking_uri)
    from mlflow.models import get_model_info

    model = reference.rstrip("/") if ":" in reference else f"runs:/{reference}"
    if model.endswith(".pt"):
        model, _, name = model.rpartition("/")
        if name != "model.pt":
            raise UsageError(f"{reference}: MLflow has models of the last epoch only, which is model.pt")
    model += "/model" if re.fullmatch("runs:/[^/]+", model) else ""
    try:
        info = get_model_info(model)
    except Exception:  # each kind of store raises errors of its own
        info = None
    if info is None or not info.model_id:
        raise UsageError(
            f"{reference}: {redact_uri(uri)} has no model under this name (only students are logged as models)"
        )
    return f"models:/{info.model_id}", info.run_id


def fetch_records(reference: str) -> "tuple[RunResult | None, StudyRecord | None]":
    """Return the result.json of a network's run and the study.json of its study, None for those that MLflow does not have."""
    from robustkd.study.results import RunResult, StudyRecord, parse_document

    client = open_client()
    from mlflow.artifacts import load_text

    match = re.match(r"(?:runs:/)?([0-9a-f]{32})(?:/|$)", reference)
    result = study = None
    try:
        run = str(match[1] if match else find_logged_model(reference)[1])
        result = parse_document(load_text(f"runs:/{run}/result.json"), RunResult, reference)
        parent = client.get_run(run).data.tags[PARENT_TAG]
        study = parse_document(load_text(f"runs:/{parent}/config.json"), StudyRecord, reference)
    except Exception:  # a run of an earlier version, or one whose files were deleted
        pass
    return result, study


def register_version(uri: str, name: str, alias: str | None) -> RegisteredVersion:
    """Register the model models:/ID under a name unless it is registered already, and set the alias.

    Raises:
        robustkd.errors.ExecutionError: the registry does not accept it.
    """
    client = open_client()
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        existing = [v for v in client.search_model_versions(f"source_path = '{uri}'") if v.name == name]
        with redirect_stderr(io.StringIO()):  # where MLflow reports each step
            version = str((existing[0] if existing else mlflow.register_model(uri, name)).version)
        if alias is None:
            return RegisteredVersion(version, not existing, f"models:/{name}/{version}", None)
        aliases = {key: str(value) for key, value in client.get_registered_model(name).aliases.items()}
        client.set_registered_model_alias(name, alias, version)
    except MlflowException as error:
        raise ExecutionError(
            f"the registry in {redact_uri(client.tracking_uri)} did not accept it as {name} ({summarise_error(error)})"
        ) from None
    previous = aliases.get(alias)
    return RegisteredVersion(
        version, not existing, f"models:/{name}@{alias}", None if previous == version else previous
    )
