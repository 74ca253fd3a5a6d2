"""Studies read from MLflow, as `robustkd.study.results.read_study` reads them from a folder.

A study's parent run has its record (config.json), and each finished child run has its result.json and epochs.csv. A study that
was started several times has several parent runs; its record is read from all of them, including those that were stopped.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pipelines.tracking.entities import PARENT_TAG
from pipelines.tracking.redaction import redact_uri
from pipelines.tracking.store import open_client, sqlite_path, summarise_error
from robustkd.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

    from robustkd.study.results import LoadedStudy, RunResult

STAGES = ("run", "prepare", "teacher", "distil", "evaluate")  # those that log a study's runs


def list_studies(experiment: str | None = None) -> dict[str, str]:
    """Return the studies of an experiment, newest first: name -> id of the newest parent run.

    Args:
        experiment: its name; by default the one that MLflow's environment variables name, or else all experiments.

    Raises:
        robustkd.errors.UsageError: there is no such experiment, it has no studies, or MLflow does not answer.
    """
    client = _open_existing_store()
    with _store_errors(client):
        experiments = _find_experiments(client, experiment)
        newest: dict[str, str] = {}
        for run in _search_parents(client, experiments):
            newest.setdefault(run.data.tags["study"], run.info.run_id)
    if not newest:
        place = f"experiment '{experiments[0].name}' in " if len(experiments) == 1 else ""
        raise UsageError(f"{place}{redact_uri(client.tracking_uri)} has no study yet")
    return newest


def load_record(run_id: str) -> "LoadedStudy":
    """Load a study from any of its parent runs.

    All parent runs of the study are read, in whatever experiment. The record is that of the newest parent that has one, and of
    several finished child runs of the same name, the newest is used. Runs that failed or were stopped are left out.

    Raises:
        robustkd.errors.UsageError: there is no such run, it is not a study's, or its files cannot be downloaded.
    """
    from mlflow.exceptions import MlflowException

    from robustkd.study.results import LoadedStudy, StudyRecord, parse_document

    client = _open_existing_store()
    with _store_errors(client):
        study = _study_name(_get_run(client, run_id))
        # `mlflow run` and `robustkd run` log the same study to two experiments.
        parents = _search_parents(client, _fetch_all(client.search_experiments), study)
    results, epochs = [], {}
    try:
        with tempfile.TemporaryDirectory(prefix="robustkd-") as folder:
            text = _download_text(client, _run_with_record(client, parents), "config.json", folder)
            record = parse_document(text, StudyRecord, f"{run_id}, config.json")
            for child in _newest_children(client, parents):
                result, table = _load_child(client, child, folder, f"{run_id}, result.json of {child.info.run_name}")
                results.append(result)
                if table is not None:
                    epochs[result.name] = table
    except (MlflowException, OSError) as error:
        reason = f"{redact_uri(client.tracking_uri)} does not provide its files ({summarise_error(error)})"
        raise UsageError(f"{run_id}: {reason}") from None
    return LoadedStudy(record, results, epochs)


def _load_child(
    client: "MlflowClient", child: "Run", folder: str, source: str
) -> "tuple[RunResult, pd.DataFrame | None]":
    """Load a child run's result and its table of epochs, which a teacher that was trained elsewhere does not have."""
    from robustkd.study.results import RunResult, parse_document, read_epochs

    run_id = child.info.run_id
    own_folder = Path(folder, run_id)
    own_folder.mkdir()
    # A store lists its files at once, but responds slowly to a request for a missing one.
    names = {PurePosixPath(file.path).name for file in client.list_artifacts(run_id)}
    text = _download_text(client, run_id, "result.json", str(own_folder))
    result = parse_document(text, RunResult, source)
    if "epochs.csv" not in names:
        return result, None
    return result, read_epochs(Path(client.download_artifacts(run_id, "epochs.csv", str(own_folder))))


@contextmanager
def _store_errors(client: "MlflowClient") -> Iterator[None]:
    """Raise a UsageError if the store does not answer, e.g. because it is locked."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise UsageError(f"{redact_uri(client.tracking_uri)} cannot be read ({summarise_error(error)})") from None


def _is_parent(run: "Run") -> bool:
    """Return whether a run is the parent run of a study."""
    return "study" in run.data.tags and run.data.tags.get("stage") in STAGES


def _study_name(run: "Run") -> str:
    """Return the name of the study of a parent run.

    Raises:
        robustkd.errors.UsageError: it is not a parent run.
    """
    if _is_parent(run):
        return str(run.data.tags["study"])
    parent = run.data.tags.get(PARENT_TAG)
    hint = f"; it belongs to run {parent}" if parent else ""
    raise UsageError(f"{run.info.run_id}: this run is not a study's, '{run.info.run_name}'{hint}")


def _search_parents(
    client: "MlflowClient", experiments: "Sequence[Experiment]", study: str | None = None
) -> "list[Run]":
    """Return the parent runs of a study, or of all, newest first."""
    ids = [experiment.experiment_id for experiment in experiments]
    named = "tags.study LIKE '%'" if study is None else f"tags.study = '{study}'"
    filters = f"{named} AND tags.stage LIKE '%'"  # child runs have no stage
    runs = [run for run in _fetch_all(partial(client.search_runs, ids, filters)) if _is_parent(run)]
    return sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id), reverse=True)


def _run_with_record(client: "MlflowClient", parents: "Sequence[Run]") -> str:
    """Return the id of the newest parent run that has the study's record, or of the newest."""
    ids = [str(run.info.run_id) for run in parents]
    return next((id_ for id_ in ids if any(file.path == "config.json" for file in client.list_artifacts(id_))), ids[0])


def _download_text(client: "MlflowClient", run_id: str, name: str, folder: str) -> str:
    """Return the content of a text file of a run."""
    return Path(client.download_artifacts(run_id, name, folder)).read_text(encoding="utf-8")


def _newest_children(client: "MlflowClient", parents: "Sequence[Run]") -> "list[Run]":
    """Return the finished child runs of a study in the order of their names, the newest of each name.

    A run that is logged again has the times of the run that it repeats, but a tag names that run; if the tag does not, the run
    of the later parent is the newer one.
    """
    runs = []
    for parent in reversed(parents):
        filters = f"tags.`{PARENT_TAG}` = '{parent.info.run_id}' AND attributes.status = 'FINISHED'"
        children = _fetch_all(partial(client.search_runs, [parent.info.experiment_id], filters))
        own = [run for run in children if "role" in run.data.tags]
        runs += sorted(own, key=lambda run: run.info.run_id)
    repeated = {run.data.tags.get("reused_from") for run in runs}
    runs.sort(key=lambda run: (run.info.run_id not in repeated, run.info.end_time))
    newest = {str(run.info.run_name): run for run in runs}
    return [newest[name] for name in sorted(newest)]


def _fetch_all(search: Callable[..., Any]) -> list[Any]:
    """Return all results of a search, of which a store returns a thousand at a time."""
    results: list[Any] = []
    token = None
    while True:
        page = search(max_results=1000, page_token=token)
        results += page
        if not (token := page.token):
            return results


def _get_run(client: "MlflowClient", run_id: str) -> "Run":
    """Return a run.

    Raises:
        robustkd.errors.UsageError: it does not exist, or was deleted.
    """
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        reason = "" if error.error_code == "RESOURCE_DOES_NOT_EXIST" else f" ({summarise_error(error)})"
        raise UsageError(f"{run_id}: {redact_uri(client.tracking_uri)} has no such run{reason}") from None
    if run.info.lifecycle_stage == "deleted":
        raise UsageError(f"{run_id}: this run was deleted from {redact_uri(client.tracking_uri)}")
    return run


def _find_experiments(client: "MlflowClient", name: str | None) -> "Sequence[Experiment]":
    """Return the experiment with a name, or the one that MLflow's environment variables name, or else all."""
    name = name or os.environ.get("MLFLOW_EXPERIMENT_NAME")
    if name is None and "MLFLOW_EXPERIMENT_ID" in os.environ:
        return [client.get_experiment(os.environ["MLFLOW_EXPERIMENT_ID"])]
    if name is None:
        return _fetch_all(client.search_experiments)
    experiment = client.get_experiment_by_name(name)
    if experiment is None or experiment.lifecycle_stage == "deleted":
        names = [each.name for each in _fetch_all(client.search_experiments)]
        store = redact_uri(client.tracking_uri)
        raise UsageError(f"--experiment {name}: {store} has no experiment of this name{did_you_mean(name, names)}")
    return [experiment]


def _open_existing_store() -> "MlflowClient":
    """Open the store; a file that does not exist is refused, because opening it would create it."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    path = sqlite_path(uri)
    if (not uri or uri.startswith("sqlite:///")) and not path.exists() and (uri or not Path("mlruns").exists()):
        raise UsageError(f"there is no MLflow store {path.resolve()}; set MLFLOW_TRACKING_URI to another one")
    return open_client()
