"""The tracker that logs to MLflow: it opens the study's run, and queues all else in the study's folder to be sent."""

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.console import console
from pipelines.tracking.entities import to_mlflow_dataset
from pipelines.tracking.headline import Headline, Summarise
from pipelines.tracking.outbox import Outbox
from pipelines.tracking.parent import ParentRun, RunStatus, close_abandoned_runs, find_children, open_parent, run_link
from pipelines.tracking.redaction import redact, redact_uri
from pipelines.tracking.sender import BUSY_PATIENCE, PATIENCE, SenderProcess
from pipelines.tracking.store import open_client, summarise_error
from pipelines.tracking.tracked import read_tracked_run
from robustkd.errors import UsageError
from robustkd.hashing import file_digest
from robustkd.plugins import plugin_paths

STOPPED_LIMIT = 3.0  # seconds to send what is left after the user has stopped a study
STARTS = 3  # of the process that sends, should it die


class MlflowTracker:
    """A parent run for the study and a child run for each of its runs, sent to MLflow by another process.

    Only `start_study` waits for MLflow, before anything is trained.

    Args:
        experiment: its name, or None for the one that MLflow's environment variables name, or else `EXPERIMENT`.
        new_parent: create a parent run even if `mlflow run` provides one.
        system_metrics: log the load of the machine to the parent run.
    """

    def __init__(self, experiment: str | None = None, new_parent: bool = False, system_metrics: bool = False) -> None:
        self.client = open_client()
        self.experiment_name, self.new_parent, self.system_metrics = experiment, new_parent, system_metrics
        self.sender: SenderProcess | None = None
        self.starts = 0
        self.parent: ParentRun
        self.outbox: Outbox
        self.study: dict[str, Any] | None = None  # the entry that opens the study, until it is queued
        self.children: set[str] = set()  # ids of the runs that the parent has
        # The last epoch of each open run; one that is continued reports earlier ones again.
        self.steps: dict[str, int] = {}
        self.failed = False

    @property
    def location(self) -> str:
        uri = redact_uri(self.client.tracking_uri)
        if uri.startswith("http"):
            return f"{uri}/{run_link(self.parent.run)}"
        return f"run {self.parent.id} in {uri}"

    @property
    def run_id(self) -> str:
        return self.parent.id

    def start_study(
        self,
        name: str,
        params: Mapping[str, Any],
        resolved: Mapping[str, Any],
        config: Mapping[str, Any],
        scenario_files: Sequence[Path],
        dataset: Mapping[str, Any],
        tags: Mapping[str, str],
        folder: Path,
    ) -> None:
        from mlflow.exceptions import MlflowException
        from mlflow.tracking.context.registry import resolve_tags

        self.outbox = Outbox(folder)
        self.outbox.require_store(self.client.tracking_uri)
        all_params = {**params, **{f"resolved/{key}": value for key, value in resolved.items()}}
        context = resolve_tags()
        try:
            close_abandoned_runs(self.client, folder)
            self.parent = open_parent(
                self.client,
                name,
                all_params,
                tags,
                folder,
                experiment=self.experiment_name,
                new_parent=self.new_parent,
                context=context,
            )
            self.children = find_children(self.client, self.parent.run)
            if not self.parent.is_unchanged:
                self._log_study(all_params, config, scenario_files, dataset)
        except (MlflowException, OSError) as error:
            raise UsageError(
                f"MLflow cannot be used ({summarise_error(error)}); `--tracker files` does without it"
            ) from None
        self.study = self._describe_study(context, dataset, params.get("plug"))
        if not self.parent.is_unchanged or self.outbox.size:
            self._open_outbox()

    def _describe_study(
        self, context: Mapping[str, str], dataset: Mapping[str, Any], plug: str | None
    ) -> dict[str, Any]:
        """Return the entry that says to which run the following ones are logged, and what is common to them."""
        return {
            "do": "open_study",
            "parent": self.parent.id,
            "stage": self.parent.stage,
            "is_provided": self.parent.is_provided,
            "tracking_uri": self.client.tracking_uri,
            "context": context,
            "dataset": dict(dataset),
            "system_metrics": self.system_metrics,
            "plug": ",".join(os.path.abspath(path) for path in plugin_paths(plug)) or None,
        }

    def _log_study(
        self,
        params: Mapping[str, Any],
        config: Mapping[str, Any],
        scenario_files: Sequence[Path],
        dataset: Mapping[str, Any],
    ) -> None:
        """Log what the study is, before its runs."""
        self.parent.log_params(params)
        text = redact(json.dumps(config, indent=2, default=str, ensure_ascii=False))
        self.client.log_text(self.parent.id, text, "config.json")
        for path in scenario_files:
            self.client.log_artifact(self.parent.id, str(path), "scenario")
        if dataset:
            self.client.log_inputs(self.parent.id, [to_mlflow_dataset(dataset)])

    def start_run(self, name: str, tags: Mapping[str, str], params: Mapping[str, Any]) -> None:
        self.steps[name] = 0
        self._queue("start_run", name=name, tags=dict(tags), params={key: str(value) for key, value in params.items()})

    def log_epoch(self, name: str, step: int, values: Mapping[str, float]) -> None:
        if step <= self.steps.get(name, step):  # an event from another process may arrive after the end
            return
        self.steps[name] = step
        self._queue("log_epoch", name=name, step=step, values=dict(values))

    def finish_run(self, name: str, folder: Path) -> None:
        self.steps.pop(name, None)
        self._queue("finish_run", name=name, folder=self._relative(folder))

    def pause_run(self, name: str, tags: Mapping[str, str]) -> None:
        if self.steps.pop(name, None) is not None:
            self._queue("pause_run", name=name, tags=dict(tags))

    def fail_run(self, name: str, message: str) -> None:
        if self.steps.pop(name, None) is not None:
            self._queue("fail_run", name=name, message=message)

    def log_finished_run(self, name: str, tags: Mapping[str, str], params: Mapping[str, Any], folder: Path) -> None:
        tracked = read_tracked_run(folder)
        if tracked and tracked.run_id in self.children and tracked.digest == file_digest(folder / "result.json"):
            return
        texts = {key: str(value) for key, value in params.items()}
        self._queue("log_finished_run", name=name, tags=dict(tags), params=texts, folder=self._relative(folder))

    def finish_study(self, comparison: Path | None, status: RunStatus, summarise: Summarise = lambda: None) -> None:
        try:
            headline: Headline | None = summarise()
            if self.study is not None and self.parent.has_answer(headline):  # nothing is new
                return
            self._queue(
                "finish_study",
                comparison=None if comparison is None else self._relative(comparison),
                status=status,
                headline=None if headline is None else headline._asdict(),
            )
        finally:
            if self.study is None:  # something was queued
                self._finish_sending(status)

    def _finish_sending(self, status: RunStatus) -> None:
        """End the process that sends: it ignores signals, so that Python would wait for it at exit without end."""
        try:
            if self.sender is not None:
                self.sender.close(PATIENCE, BUSY_PATIENCE, STOPPED_LIMIT if status == "KILLED" else math.inf)
        finally:
            if self.outbox.size and not self.failed:
                console.print(
                    f"MLflow has not received all of this study: `robustkd sync {self.outbox.folder}` sends the rest",
                )

    def _queue(self, do: str, **content: Any) -> None:
        """Append an entry to the outbox. A failure does not stop the study: it is reported once, and logging ends."""
        if self.failed:
            return
        try:
            if self.study is not None:
                self._open_outbox()
            self.outbox.append({"do": do, "time": time.time(), **content})
        except OSError as error:
            self.failed = True
            console.print(
                f"{self.outbox.path} cannot be written ({error.strerror}), so the rest of this study is in its files only;"
                " the same command will log it",
            )
            return
        self._start_sender()

    def _open_outbox(self) -> None:
        """Queue that the study begins, after what an earlier command has left."""
        self.outbox.repair()
        self.outbox.append({**(self.study or {}), "time": time.time()})
        self.study = None
        if self.outbox.count_unsent() > 1 or self.system_metrics:
            self._start_sender()

    def _start_sender(self) -> None:
        """Start the process that sends, if it is not running."""
        if (self.sender is not None and self.sender.is_alive()) or self.starts == STARTS:
            return
        self.starts += 1
        try:
            self.sender = SenderProcess(self.outbox)
        except (OSError, MemoryError) as error:
            self.starts = STARTS
            console.print(f"the process that sends to MLflow cannot be started ({error or type(error).__name__})")

    def _relative(self, path: Path) -> str:
        """Return a path relative to the study's folder, which may be moved before the entry is sent."""
        return os.path.relpath(path, self.outbox.folder)
