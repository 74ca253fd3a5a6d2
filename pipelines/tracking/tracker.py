"""The tracker that writes to MLflow: a parent run for the study, and a child run for each of its runs."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from pipelines.console import console
from pipelines.tracking.entities import (
    MAX_TAG,
    to_milliseconds,
    to_mlflow_dataset,
    to_mlflow_metrics,
    to_mlflow_params,
    to_mlflow_tags,
)
from pipelines.tracking.headline import Summarise
from pipelines.tracking.metrics import result_metrics, training_params
from pipelines.tracking.models import log_model
from pipelines.tracking.parent import ParentRun, RunStatus, close_abandoned_runs, open_parent, run_link
from pipelines.tracking.store import hide_password, open_client, summarise_error
from pipelines.tracking.system_metrics import start_monitor
from pipelines.tracking.tracked import TRACKED_FILE, TrackedRun, read_tracked_run, write_tracked
from robustkd.errors import UsageError
from robustkd.hashing import file_digest
from robustkd.study.results import RunKey, RunResult

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Metric, Run
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

INTERVAL = 5.0  # seconds between batches of metrics
RUN_FILES = (".csv", ".json", ".pt", ".png")  # logged from a run's folder; not the logits of the test set
P = ParamSpec("P")


def non_fatal(call: Callable[Concatenate["MlflowTracker", P], None]) -> Callable[Concatenate["MlflowTracker", P], None]:
    """Decorate a method so that a failure of MLflow does not stop the study: it is reported once, and logging ends."""

    @wraps(call)
    def attempt(tracker: "MlflowTracker", /, *args: P.args, **kwargs: P.kwargs) -> None:
        from mlflow.exceptions import MlflowException

        if tracker.failed:
            return
        try:
            call(tracker, *args, **kwargs)
        except (MlflowException, OSError) as error:
            tracker.failed = True
            console.print(
                f"MLflow failed ({summarise_error(error)}), so the rest of this study is in its files only; "
                "the same command will log all of it again",
            )

    return attempt


@dataclass
class OpenRun:
    """An open run of MLflow.

    Attributes:
        began: in seconds since 1970, of a finished run that is logged again; None of others.
        params: names of the parameters that are logged.
        step: the last epoch that is logged; a run that is continued reports earlier ones again.
        waiting: metrics that are not sent yet.
    """

    id: str
    began: float | None
    params: set[str] = field(default_factory=set)
    waiting: "list[Metric]" = field(default_factory=list)
    step: int = 0


class MlflowTracker:
    """A parent run for the study and a child run for each of its runs, without MLflow's active run.

    A finished run that this store has already is not logged again: its run is linked from the parent, and brought up to date if
    the run was evaluated again.

    Args:
        experiment: its name, or None for the one that MLflow's environment variables name, or else `EXPERIMENT`.
        new_parent: create a parent run even if `mlflow run` provides one.
        system_metrics: log the load of the machine to the parent run.
    """

    def __init__(self, experiment: str | None = None, new_parent: bool = False, system_metrics: bool = False) -> None:
        self.client = open_client()
        self.experiment_name, self.new_parent, self.system_metrics = experiment, new_parent, system_metrics
        self.parent: ParentRun
        self.context: dict[str, str] = {}  # user, source and commit
        self.dataset: DatasetInput | None = None
        self.runs: dict[str, OpenRun] = {}
        self.linked: dict[str, Run] = {}  # finished runs below another parent, by name
        self.parents: dict[str, bool] = {}  # whether the parents of finished runs still exist, by id
        self.monitor: SystemMetricsMonitor | None = None
        self.last_sent = time.monotonic()
        self.failed = False

    @property
    def location(self) -> str:
        uri = hide_password(self.client.tracking_uri)
        if uri.startswith("http"):
            return f"{uri}/{run_link(self.parent.run)}"
        return f"run {self.parent.id} in {uri}"

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

        all_params = {**params, **{f"resolved/{key}": value for key, value in resolved.items()}}
        self.context = resolve_tags()
        self.dataset = to_mlflow_dataset(dataset) if dataset else None
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
                context=self.context,
            )
            if not self.parent.is_unchanged:
                self._log_study(all_params, config, scenario_files)
        except (MlflowException, OSError) as error:
            raise UsageError(
                f"MLflow cannot be used ({summarise_error(error)}); `--tracker files` does without it"
            ) from None

    def _log_study(self, params: Mapping[str, Any], config: Mapping[str, Any], scenario_files: Sequence[Path]) -> None:
        """Log what the study is, before its runs."""
        self.parent.log_params(params)
        text = json.dumps(config, indent=2, default=str, ensure_ascii=False)
        self.client.log_text(self.parent.id, text, "config.json")
        for path in scenario_files:
            self.client.log_artifact(self.parent.id, str(path), "scenario")
        self._log_dataset(self.parent.id)
        self._measure_machine()

    def _log_dataset(self, run_id: str) -> None:
        """Log the study's data set as an input of a run, if it has one."""
        if self.dataset is not None:
            self.client.log_inputs(run_id, [self.dataset])

    @non_fatal
    def start_run(self, name: str, tags: Mapping[str, str], params: Mapping[str, Any]) -> None:
        self._open_run(name, tags, params)

    def _open_run(
        self, name: str, tags: Mapping[str, str], params: Mapping[str, Any], began: float | None = None
    ) -> None:
        """Create a child run; one of a finished run began when its training did."""
        self._continue_parent()
        run_tags = {**self.context, **tags, "mlflow.parentRunId": self.parent.id}
        run = self.client.create_run(
            self.parent.experiment, start_time=to_milliseconds(began), tags=run_tags, run_name=name
        )
        self.runs[name] = OpenRun(run.info.run_id, began)
        self._log_params(self.runs[name], params)
        self._log_dataset(run.info.run_id)

    def _continue_parent(self) -> None:
        """Mark the parent as running before something is added to it."""
        if self.parent.is_unchanged:
            self.parent.reopen()
            self._measure_machine()

    def _measure_machine(self) -> None:
        """Log the load of the machine to the parent from now on, if that is requested."""
        if self.system_metrics:
            self.monitor = start_monitor(self.parent.id, self.client.tracking_uri)

    @non_fatal
    def log_epoch(self, name: str, step: int, values: Mapping[str, float]) -> None:
        run = self.runs.get(name)
        if run is None or step <= run.step:  # an event from another process may arrive after the end
            return
        run.step = step
        when = None if run.began is None else run.began + values.get("seconds", 0.0)
        run.waiting += to_mlflow_metrics(values, step, when)
        if time.monotonic() - self.last_sent > INTERVAL:
            for open_run in self.runs.values():
                self._send_metrics(open_run)
            self.last_sent = time.monotonic()

    @non_fatal
    def finish_run(self, name: str, folder: Path, result: RunResult) -> None:
        run, training = self.runs[name], result.training
        ended = training.finished if training and run.began is not None else None
        self._send_metrics(run)
        is_student = result.run.role == "student" and (folder / "model.pt").exists()
        model = self._log_model(run, folder / "model.pt", result.run) if is_student else None
        self._log_result(run, folder, result, ended, None if model is None else f"models:/{model}")
        self.client.set_terminated(run.id, "FINISHED", to_milliseconds(ended))
        del self.runs[name]

    def _log_result(
        self, run: OpenRun, folder: Path, result: RunResult, when: float | None, model_uri: str | None
    ) -> None:
        """Log the parameters, metrics and files of a finished run, and write down where they are."""
        from pipelines.report.charts.matrices import plot_confusion
        from pipelines.report.charts.output import save_figure

        self._log_params(run, training_params(result.training))
        model = None if model_uri is None else model_uri.removeprefix("models:/")
        run.waiting += to_mlflow_metrics(result_metrics(result), 0, when, model)
        self._send_metrics(run)
        last = result.last
        save_figure(plot_confusion(last.confusion, list(last.recall), result.name), folder / "confusion.png")
        for path in sorted(folder.iterdir()):
            if path.suffix in RUN_FILES and path.name not in (TRACKED_FILE, "unfinished.pt"):
                self.client.log_artifact(run.id, str(path))
        uri = hide_password(self.client.tracking_uri)
        write_tracked(folder, TrackedRun(run.id, uri, model_uri, file_digest(folder / "result.json")))

    @non_fatal
    def log_finished_run(
        self,
        name: str,
        tags: Mapping[str, str],
        params: Mapping[str, Any],
        folder: Path,
        result: RunResult,
        epochs: Sequence[tuple[int, Mapping[str, float]]],
    ) -> None:
        tracked = read_tracked_run(folder)
        logged = None if tracked is None else self._find_run(tracked)
        if tracked is not None and logged is not None:
            if tracked.digest != file_digest(folder / "result.json"):
                self._update_run(logged, tags, params, folder, result, tracked.model_uri)
            if logged.data.tags["mlflow.parentRunId"] != self.parent.id:
                self.linked[name] = logged
            return
        tags = {**tags, "reused_from": tags["study"] if tracked is None else tracked.run_id}
        finished = result.training.finished if result.training else time.time()
        self._open_run(name, tags, params, finished - (result.training.seconds if result.training else 0.0))
        for step, values in epochs:
            self.log_epoch(name, step, values)
        self.finish_run(name, folder, result)

    def _find_run(self, tracked: TrackedRun) -> "Run | None":
        """Return the child run that holds a finished run, if this store still has it and its parent."""
        from mlflow.exceptions import MlflowException

        if tracked.tracking_uri != hide_password(self.client.tracking_uri):
            return None
        with suppress(MlflowException):  # it does not exist any more
            run = self.client.get_run(tracked.run_id)
            parent = run.data.tags.get("mlflow.parentRunId")
            if run.info.status == "FINISHED" and run.info.lifecycle_stage == "active" and self._has_parent(parent):
                return run
        return None

    def _has_parent(self, run_id: str | None) -> bool:
        """Return whether a parent run exists."""
        if run_id is not None and run_id not in self.parents:
            self.parents[run_id] = self.client.get_run(run_id).info.lifecycle_stage == "active"
        return run_id is not None and self.parents[run_id]

    def _update_run(
        self,
        logged: "Run",
        tags: Mapping[str, str],
        params: Mapping[str, Any],
        folder: Path,
        result: RunResult,
        model_uri: str | None,
    ) -> None:
        """Add to a logged run what is new since: of another evaluation, or of a later version of robustkd."""
        self._continue_parent()
        run = OpenRun(logged.info.run_id, None, set(logged.data.params))
        self.client.log_batch(run.id, tags=to_mlflow_tags(tags), synchronous=True)
        self._log_params(run, params)
        self._log_dataset(run.id)
        self._log_result(run, folder, result, None, model_uri)

    @non_fatal
    def fail_run(self, name: str, message: str) -> None:
        if run := self.runs.pop(name, None):
            self._send_metrics(run)
            self.client.set_tag(run.id, "failure", message[:MAX_TAG])
            self.client.set_terminated(run.id, "FAILED")

    def finish_study(self, comparison: Path | None, status: RunStatus, summarise: Summarise = lambda: None) -> None:
        if self.monitor is not None:
            self.monitor.finish()  # type: ignore[no-untyped-call]
        if self.failed:
            self._kill_runs()
        else:
            self._close_study(comparison, status, summarise)

    def _kill_runs(self) -> None:
        """Mark open runs as killed if the store works again, so that none appears to be running for ever."""
        from mlflow.exceptions import MlflowException

        with suppress(MlflowException, OSError):
            for run in self.runs.values():
                self.client.set_terminated(run.id, "KILLED")
            self.parent.kill()

    @non_fatal
    def _close_study(self, comparison: Path | None, status: RunStatus, summarise: Summarise) -> None:
        for run in self.runs.values():  # the study was stopped: what they logged is kept
            self._send_metrics(run)
            self.client.set_terminated(run.id, "KILLED")
        links = [f"[{name}]({run_link(run)})" for name, run in self.linked.items()]
        text = f"Runs logged by an earlier command: {', '.join(links)}" if links else ""
        self.parent.close(comparison, summarise(), text, status)

    def _send_metrics(self, run: OpenRun) -> None:
        """Send the waiting metrics. The client splits metrics and parameters into batches of the size that a store accepts."""
        waiting, run.waiting = run.waiting, []
        self.client.log_batch(run.id, metrics=waiting, synchronous=True)

    def _log_params(self, run: OpenRun, values: Mapping[str, Any]) -> None:
        """Log the parameters that are not logged yet."""
        params = to_mlflow_params(values, run.params)
        self.client.log_batch(run.id, params=params, synchronous=True)
        run.params |= {param.key for param in params}

    def _log_model(self, run: OpenRun, path: Path, key: RunKey) -> str | None:
        """Log a network as the run's model; return its id, or None where that cannot be done."""
        try:
            return log_model(self.client, self.parent.experiment, run.id, path, key)
        except (
            Exception
        ) as error:  # e.g. torch.export cannot trace the network, or the server is older than logged models
            self.client.set_tag(run.id, "model", f"not logged: {summarise_error(error)}")
            console.print(f"{path}: no model is logged to MLflow ({summarise_error(error)})")
            return None
