"""Studies read back from MLflow: the record that `comparison.recorded` reads from a folder, here from the runs' artifacts.

A study's parent run holds its card (config.json), and each child run that finished its result.json and epochs.csv. A study
that was begun again has a parent for each time; its record is drawn from all of them, whichever was stopped.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from pipelines.tracking.store import client, line, shown
from robustkd.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

    from robustkd.study.results import LoadedStudy

STAGES = ("run", "prepare", "teacher", "distil", "evaluate")  # which log a study's runs
FILES = ("result.json", "epochs.csv")


def list_studies(experiment: str | None = None) -> dict[str, str]:
    """The studies of an experiment, the newest first: name -> id of the newest parent run.

    Args:
        experiment: its name; the one that MLflow's own variables name, or else all there are, where not given.

    Raises:
        robustkd.errors.UsageError: there is no such experiment, nothing in it, or MLflow cannot be asked.
    """
    asked = _asked()
    with _answered(asked):
        where = _experiments(asked, experiment)
        newest: dict[str, str] = {}
        for run in _parents(asked, where, "tags.study LIKE '%'"):
            newest.setdefault(run.data.tags["study"], run.info.run_id)
    if not newest:
        what = f"experiment '{where[0].name}' in " if len(where) == 1 else ""
        raise UsageError(f"{what}{shown(asked.tracking_uri)} holds no study yet")
    return newest


def load_record(run_id: str) -> "LoadedStudy":
    """A study's record, from any of its parent runs.

    Of all parents of the study, in whatever experiment, the card is the newest's that has one; of runs of one cell, under
    whichever parent, the newest counts that finished. Runs that failed or were stopped are left out.

    Raises:
        robustkd.errors.UsageError: there is no such run, it is no study's, or what it holds cannot be fetched.
    """
    from mlflow.exceptions import MlflowException

    from robustkd.study.results import LoadedStudy, RunResult, StudyRecord, parse_document, read_epochs

    asked = _asked()
    with _answered(asked):
        parent = _run(asked, run_id)
        if not _parent(parent):
            above = parent.data.tags.get("mlflow.parentRunId")
            hint = f"; it belongs to run {above}" if above else ""
            raise UsageError(f"{run_id}: this run is not a study's, '{parent.info.run_name}'{hint}")
        # `mlflow run` and `robustkd run` by themselves put one study into two experiments.
        again = _parents(asked, _every(asked.search_experiments), f"tags.study = '{parent.data.tags['study']}'")
    results, epochs = [], {}
    try:
        with tempfile.TemporaryDirectory(prefix="robustkd-") as folder:
            text = _fetched(asked, _card(asked, again), "config.json", folder)
            record = parse_document(text, StudyRecord, f"{run_id}, config.json")
            for number, child in enumerate(_cells(asked, again)):
                place = Path(folder, str(number))
                place.mkdir()
                # A store lists what it has at once, but takes long to deny a file.
                there = {PurePosixPath(file.path).name for file in asked.list_artifacts(child.info.run_id)}
                text = _fetched(asked, child.info.run_id, FILES[0], str(place))
                result = parse_document(text, RunResult, f"{run_id}, result.json of {child.info.run_name}")
                results.append(result)
                if FILES[1] in there:  # a teacher that was trained elsewhere has no history
                    epochs[result.name] = read_epochs(
                        Path(asked.download_artifacts(child.info.run_id, FILES[1], str(place)))
                    )
    except (MlflowException, OSError) as error:
        raise UsageError(f"{run_id}: {shown(asked.tracking_uri)} does not give its files ({line(error)})") from None
    return LoadedStudy(record, results, epochs)


@contextmanager
def _answered(asked: "MlflowClient") -> Iterator[None]:
    """Refuse a store that does not answer, as when somebody holds it."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise UsageError(f"{shown(asked.tracking_uri)} cannot be asked ({line(error)})") from None


def _parent(run: "Run") -> bool:
    """Whether a run is a study's own."""
    return "study" in run.data.tags and run.data.tags.get("stage") in STAGES


def _parents(asked: "MlflowClient", experiments: "Sequence[Experiment]", filters: str) -> "list[Run]":
    """Studies' own runs, the newest first."""
    ids = [each.experiment_id for each in experiments]
    found = [run for run in _every(partial(asked.search_runs, ids, filters)) if _parent(run)]
    return sorted(found, key=lambda run: (run.info.start_time, run.info.run_id), reverse=True)


def _card(asked: "MlflowClient", parents: "Sequence[Run]") -> str:
    """The newest parent that came as far as to hold the study's card."""
    ids = [str(run.info.run_id) for run in parents]
    return next((id_ for id_ in ids if any(f.path == "config.json" for f in asked.list_artifacts(id_))), ids[0])


def _fetched(asked: "MlflowClient", run_id: str, name: str, folder: str) -> str:
    return Path(asked.download_artifacts(run_id, name, folder)).read_text(encoding="utf-8")


def _cells(asked: "MlflowClient", parents: "Sequence[Run]") -> "list[Run]":
    """A study's finished runs by name, of each cell the newest.

    A run that is logged again has the times of the one it repeats, but says in a tag which that is; where it does not know,
    that of the later parent is the newer.

    Args:
        parents: the newest first.
    """
    runs = []
    for parent in reversed(parents):
        below = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}' AND attributes.status = 'FINISHED'"
        found = _every(partial(asked.search_runs, [parent.info.experiment_id], below))
        own = [run for run in found if "role" in run.data.tags]
        runs += sorted(own, key=lambda run: run.info.run_id)
    repeated = {run.data.tags.get("reused_from") for run in runs}
    runs.sort(key=lambda run: (run.info.run_id not in repeated, run.info.end_time))
    newest = {str(run.info.run_name): run for run in runs}
    return [newest[name] for name in sorted(newest)]


def _every(search: Callable[..., Any]) -> list[Any]:
    """All that a search finds; a store gives a thousand at once."""
    found: list[Any] = []
    token = None
    while True:
        some = search(max_results=1000, page_token=token)
        found += some
        if not (token := some.token):
            return found


def _run(asked: "MlflowClient", run_id: str) -> "Run":
    from mlflow.exceptions import MlflowException

    try:
        run = asked.get_run(run_id)
    except MlflowException as error:
        why = "" if error.error_code == "RESOURCE_DOES_NOT_EXIST" else f" ({line(error)})"
        raise UsageError(f"{run_id}: {shown(asked.tracking_uri)} has no such run{why}") from None
    if run.info.lifecycle_stage == "deleted":
        raise UsageError(f"{run_id}: this run was deleted from {shown(asked.tracking_uri)}")
    return run


def _experiments(asked: "MlflowClient", name: str | None) -> "Sequence[Experiment]":
    """The one that is meant by the name or by MLflow's own variables, or else all there are."""
    name = name or os.environ.get("MLFLOW_EXPERIMENT_NAME")
    if name is None and "MLFLOW_EXPERIMENT_ID" in os.environ:
        return [asked.get_experiment(os.environ["MLFLOW_EXPERIMENT_ID"])]
    if name is None:
        return _every(asked.search_experiments)
    found = asked.get_experiment_by_name(name)
    if found is None or found.lifecycle_stage == "deleted":
        names = [each.name for each in _every(asked.search_experiments)]
        place = shown(asked.tracking_uri)
        raise UsageError(f"--experiment {name}: {place} has no experiment of this name{did_you_mean(name, names)}")
    return [found]


def _asked() -> "MlflowClient":
    """MLflow's client; a store of files that is not there is refused, for asking it would make it."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    path = Path(unquote(uri.removeprefix("sqlite:///").partition("?")[0]) or "mlflow.db")
    if (not uri or uri.startswith("sqlite:///")) and not path.exists() and (uri or not Path("mlruns").exists()):
        raise UsageError(f"there is no MLflow store {path.resolve()}; MLFLOW_TRACKING_URI says where another is")
    return client()
