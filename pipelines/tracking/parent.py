"""The parent run of a study or a sweep: created, continued from an earlier command, or provided by `mlflow run`.

A command with the same options as before continues the run that it logged then. If it has nothing to add, nothing is changed.
"""

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipelines.tracking.entities import (
    MAX_TAG,
    PARENT_TAG,
    param_values,
    to_milliseconds,
    to_mlflow_metrics,
    to_mlflow_params,
    to_mlflow_tags,
)
from pipelines.tracking.headline import Headline
from pipelines.tracking.metrics import log_metrics
from pipelines.tracking.outbox import OUTBOX_FILE, SENT_FILE
from pipelines.tracking.redaction import redact_uri, redact_values
from pipelines.tracking.tracked import TRACKED_FILE, TrackedStudy, read_tracked_study, write_tracked
from robustkd.hashing import digest

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

EXPERIMENT = "robustkd"
FILES = "comparison"  # the folder of its artifacts
TABLE_FILES = (".csv", ".md", ".tex", ".png", ".svg", ".txt", ".json", ".html")  # logged from a comparison's folder
NOTE = "mlflow.note.content"  # the description that the UI shows, in Markdown
PROVIDED = " (mlflow run)"
RunStatus = Literal["FINISHED", "FAILED", "KILLED"]
RANDOM_NAME = re.compile(r"[a-z]+-[a-z]+-\d{1,4}")  # as MLflow names a run


class ParentRun:
    """An open parent run.

    Args:
        run: as it was found or created.
        folder: of the study or the sweep; it may not exist yet.
        stage: the tag of this name.
        is_provided: whether `mlflow run` created it, which also closes it.

    Attributes:
        is_unchanged: whether it was finished by an earlier command, and nothing was logged to it since.
    """

    def __init__(self, client: "MlflowClient", run: "Run", folder: Path, stage: str, is_provided: bool) -> None:
        self.client, self.run, self.folder, self.stage, self.is_provided = client, run, folder, stage, is_provided
        self.is_unchanged = not is_provided and run.info.status == "FINISHED"
        if not self.is_unchanged:
            self._write_tracked()

    @property
    def id(self) -> str:
        """Its id."""
        return str(self.run.info.run_id)

    @property
    def _key(self) -> str:
        """What tracked.json calls the run. `mlflow run` provides a new one each time, so that it is not continued."""
        return f"{self.stage}{PROVIDED}" if self.is_provided else self.stage

    @property
    def experiment(self) -> str:
        """The id of its experiment."""
        return str(self.run.info.experiment_id)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log the parameters that are not logged yet."""
        self.client.log_batch(self.id, params=to_mlflow_params(params, self.run.data.params), synchronous=True)

    def reopen(self) -> None:
        """Mark a finished run as running."""
        self.client.update_run(self.id, status="RUNNING")
        self.is_unchanged = False

    def has_answer(self, headline: Headline | None) -> bool:
        """Return whether nothing was logged since it was finished, and a headline is the one that it shows."""
        return self.is_unchanged and not self._new_metrics(headline)

    def _new_metrics(self, headline: Headline | None, when: float | None = None) -> "list[Metric]":
        """Return the metrics of a headline that the run does not show yet: an equal point would be kept twice."""
        known = self.run.data.metrics
        metrics = to_mlflow_metrics(headline.metrics if headline else {}, 0, when)
        return [metric for metric in metrics if known.get(metric.key) != metric.value]

    def close(
        self,
        comparison: Path | None,
        headline: Headline | None,
        links: str,
        status: RunStatus,
        *,
        when: float | None = None,
        is_repeated: bool = False,
    ) -> None:
        """Log the comparison's files, metrics and answer, and end the run.

        Args:
            when: the date of it, in seconds since 1970; None: now.
            is_repeated: whether this may have been done before, in whole or in part.
        """
        if self.has_answer(headline):
            return
        self._write_tracked()
        files = [path for path in sorted(comparison.iterdir()) if path.suffix in TABLE_FILES] if comparison else []
        files = [path for path in files if path.name not in (TRACKED_FILE, OUTBOX_FILE, SENT_FILE)]
        for path in files:
            self.client.log_artifact(self.id, str(path), FILES)
        log_metrics(self.client, self.id, self._new_metrics(headline, when), is_repeated)
        tags = {"best_method": headline.best} if headline and headline.best else {}
        self.client.log_batch(self.id, tags=to_mlflow_tags(tags), synchronous=True)
        self._describe(
            "\n\n".join(part for part in (headline.text if headline else "", self._places(files), links) if part)
        )
        if not self.is_provided:
            self.client.set_terminated(self.id, status, to_milliseconds(when))

    def kill(self) -> None:
        """Mark the run as killed, unless it was finished before."""
        if not self.is_provided and not self.is_unchanged:
            self.client.set_terminated(self.id, "KILLED")

    def _places(self, files: list[Path]) -> str:
        """Return where the report and the files are, in Markdown."""
        address = f"{run_link(self.run)}/artifacts/{FILES}"
        reports = [f"[{path.name}]({address}/{path.name})" for path in files if path.suffix == ".html"]
        folders = [f"files: `{self.folder.resolve()}`"] if self.folder.exists() else []
        return ", ".join([*reports, *folders])

    def _describe(self, text: str) -> None:
        """Set the run's description, unless the user has written one."""
        tracked = read_tracked_study(self.folder)
        written = tracked.notes.get(self.stage) if tracked else None
        present = self.client.get_run(self.id).data.tags.get(NOTE, "")
        text = text[:MAX_TAG]
        if text and (not present or digest(text=present) == written):
            self.client.set_tag(self.id, NOTE, text)
            self._write_tracked(digest(text=text))

    def _write_tracked(self, note: str = "") -> None:
        """Write the run's id into the folder, if it exists, next to those of other stages."""
        if not self.folder.is_dir():
            return
        uri = redact_uri(self.client.tracking_uri)
        tracked = read_tracked_study(self.folder)
        if tracked is None or tracked.tracking_uri != uri:
            tracked = TrackedStudy(uri)
        notes = {**tracked.notes, self.stage: note} if note else tracked.notes
        write_tracked(self.folder, replace(tracked, run_ids={**tracked.run_ids, self._key: self.id}, notes=notes))


def open_parent(
    client: "MlflowClient",
    name: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    folder: Path,
    *,
    experiment: str | None,
    new_parent: bool,
    context: Mapping[str, str],
) -> ParentRun:
    """Return the run that `mlflow run` provides, the one that a command with the same options logged, or a new one.

    Args:
        name, params, tags: of the run.
        folder: of the study or the sweep.
        experiment: its name, or None for the one that MLflow's environment variables name, or else `EXPERIMENT`.
        new_parent: do not use a provided run, which is that of a sweep.
        context: tags of a new run: user, source and commit.
    """
    provided = os.environ.get("MLFLOW_RUN_ID")
    stage = tags.get("stage", "")
    if provided and not new_parent:
        run = client.get_run(provided)
        client.log_batch(provided, tags=to_mlflow_tags(tags), synchronous=True)
        if RANDOM_NAME.fullmatch(run.info.run_name or ""):  # the user did not name it
            client.update_run(provided, name=name)
        return ParentRun(client, run, folder, stage, is_provided=True)
    place = _find_experiment(client, experiment, provided)
    earlier = _find_earlier(client, place, params, folder, stage)
    if earlier is None:
        run = client.create_run(place, tags=redact_values({**context, **tags}), run_name=name)
        return _name_in_folder(client, run, folder, stage)
    changed = {key: value for key, value in tags.items() if earlier.data.tags.get(key) != value}
    client.log_batch(earlier.info.run_id, tags=to_mlflow_tags(changed), synchronous=True)
    parent = ParentRun(client, earlier, folder, stage, is_provided=False)
    if not parent.is_unchanged:  # it failed or was stopped
        client.update_run(parent.id, status="RUNNING")
    return parent


def _name_in_folder(client: "MlflowClient", run: "Run", folder: Path, stage: str) -> ParentRun:
    """Return a new run, which a file in the folder names; close it if that cannot be written."""
    try:
        return ParentRun(client, run, folder, stage, is_provided=False)
    except OSError:  # e.g. a full disk: no later command could find the run
        client.set_terminated(run.info.run_id, "KILLED")
        raise


def find_children(client: "MlflowClient", parent: "Run") -> set[str]:
    """Return the ids of the finished child runs of a parent; at most a thousand, which is what a store returns at a time."""
    query = f"tags.`{PARENT_TAG}` = '{parent.info.run_id}' and attributes.status = 'FINISHED'"
    return {run.info.run_id for run in client.search_runs([parent.info.experiment_id], query, max_results=1000)}


def close_abandoned_runs(client: "MlflowClient", folder: Path) -> None:
    """Mark as killed the runs of earlier commands on a folder that are still marked as running: their processes have died.

    The caller holds the lock of the folder, so that no other command is at work on it.
    """
    from mlflow.exceptions import MlflowException

    tracked = read_tracked_study(folder)
    if tracked is None or tracked.tracking_uri != redact_uri(client.tracking_uri):
        return
    for run_id in tracked.run_ids.values():
        with suppress(MlflowException):  # it does not exist any more
            parent = client.get_run(run_id)
            children = client.search_runs(
                [parent.info.experiment_id], f"tags.`{PARENT_TAG}` = '{run_id}' and attributes.status = 'RUNNING'"
            )
            for run in children:
                client.set_terminated(run.info.run_id, "KILLED")
            if parent.info.status == "RUNNING" and run_id != os.environ.get("MLFLOW_RUN_ID"):
                client.set_terminated(run_id, "KILLED")


def _find_earlier(
    client: "MlflowClient", experiment: str, params: Mapping[str, Any], folder: Path, stage: str
) -> "Run | None":
    """Return the run of an earlier command with the same options in the same experiment, or None."""
    from mlflow.exceptions import MlflowException

    tracked = read_tracked_study(folder)
    if tracked is None or stage not in tracked.run_ids or tracked.tracking_uri != redact_uri(client.tracking_uri):
        return None
    with suppress(MlflowException):  # it does not exist any more
        run = client.get_run(tracked.run_ids[stage])
        same_options = param_values(params).items() <= run.data.params.items()
        if same_options and run.info.lifecycle_stage == "active" and run.info.experiment_id == experiment:
            return run
    return None


def _find_experiment(client: "MlflowClient", name: str | None, provided: str | None) -> str:
    """Return the id of the experiment: of the provided run, as requested, from MLflow's variables, or `EXPERIMENT`."""
    from mlflow.exceptions import MlflowException

    if provided:
        return str(client.get_run(provided).info.experiment_id)
    name = name or os.environ.get("MLFLOW_EXPERIMENT_NAME")
    if name is None and "MLFLOW_EXPERIMENT_ID" in os.environ:
        return os.environ["MLFLOW_EXPERIMENT_ID"]
    name = name or EXPERIMENT
    if existing := client.get_experiment_by_name(name):
        return str(existing.experiment_id)
    try:
        return str(client.create_experiment(name))
    except MlflowException:  # a study that started at the same time may have created it
        if existing := client.get_experiment_by_name(name):
            return str(existing.experiment_id)
        raise


def run_link(run: "Run") -> str:
    """Return a run's address within MLflow's UI."""
    return f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
