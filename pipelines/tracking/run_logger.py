"""Writes the entries of an outbox to MLflow: a parent run for the study, and a child run for each of its runs.

An entry can be repeated, because it may have been written in whole or in part when a server went away before it confirmed it:
runs and models are looked up before they are created, points of metrics before they are logged; all else replaces itself.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.tracking.entities import (
    MAX_TAG,
    PARENT_TAG,
    to_milliseconds,
    to_mlflow_dataset,
    to_mlflow_metrics,
    to_mlflow_params,
    to_mlflow_tags,
)
from pipelines.tracking.headline import Headline
from pipelines.tracking.metrics import epoch_metrics, log_metrics, result_metrics, training_params
from pipelines.tracking.models import log_model
from pipelines.tracking.outbox import Entry, Sent
from pipelines.tracking.parent import ParentRun, run_link
from pipelines.tracking.redaction import redact_uri
from pipelines.tracking.store import explain_silence, is_outage, summarise_error
from pipelines.tracking.system_metrics import start_monitor
from pipelines.tracking.tracked import TRACKED_FILE, TrackedRun, read_tracked_run, write_tracked
from robustkd.hashing import file_digest
from robustkd.plugins import load_plugins
from robustkd.study.results import RunKey, RunResult, read_document

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

RUN_FILES = (".csv", ".json", ".pt", ".png")  # logged from a run's folder; not the logits of the test set


class RunLogger:
    """Writes entries to MLflow, without its active run.

    A finished run that this store has already is not logged again: its run is linked from the parent, and brought up to date if
    the run was evaluated again.

    Args:
        folder: of the study or the sweep; entries name files below it.
        sent: what was written before, which is brought up to date.
        report: called with a sentence for the user.

    Attributes:
        is_repeated: whether the entries may have been written before, in whole or in part.
    """

    def __init__(self, folder: Path, sent: Sent, report: Callable[[str], None]) -> None:
        self.folder, self.sent, self.report = folder, sent, report
        self.is_repeated = False
        self.parents: dict[str, bool] = {}  # whether the parents of finished runs still exist, by id
        self.monitor: SystemMetricsMonitor | None = None
        self._parent: ParentRun | None = None

    @cached_property
    def client(self) -> "MlflowClient":
        """MLflow's client of the store that the environment names."""
        from mlflow import MlflowClient

        return MlflowClient()

    def check_server(self) -> None:
        """Raise an OSError if the store is a server that does not answer, which MLflow would wait for much longer."""
        if reason := explain_silence(self.client.tracking_uri):
            raise ConnectionError(reason)

    def check_store(self) -> None:
        """Raise an error of MLflow if the store does not serve requests."""
        self.client.search_experiments(max_results=1)

    def write(self, entries: Sequence[Entry]) -> None:
        """Write one entry, or several epochs."""
        if entries[0].get("do") == "log_epoch":
            self._log_epochs(entries)
            return
        (entry,) = entries
        if (kind := entry.get("do")) not in WRITERS:
            raise ValueError(f"the entry is damaged ({kind})")
        WRITERS[kind](self, entry)

    @property
    def parent(self) -> ParentRun:
        """The study's run."""
        study = self.sent.study
        if self._parent is None or self._parent.id != study["parent"]:
            run = self.client.get_run(study["parent"])
            self._parent = ParentRun(self.client, run, self.folder, study["stage"], study["is_provided"])
        return self._parent

    def _open_study(self, entry: Entry) -> None:
        """Log to a study's run from now on. Runs that an earlier command left open are closed."""
        self._kill_runs(entry["time"])
        self.sent.study, self.sent.linked, self._parent = dict(entry), {}, None
        if not self.parent.is_unchanged:
            self._measure_machine()

    def _start_run(self, entry: Entry) -> None:
        self._open_run(entry["name"], entry["tags"], entry["params"], entry["time"])

    def _open_run(
        self, name: str, tags: Mapping[str, str], params: Mapping[str, Any], started: float, is_finished: bool = False
    ) -> dict[str, Any]:
        """Create a child run, or return the one that an earlier attempt created. One of a finished run keeps its dates."""
        self._continue_parent()
        run = self.sent.runs.get(name)
        if run is None or run["started"] != started:
            run = {"id": self._find_created(name, started), "started": started, "is_finished": is_finished}
            if run["id"] is None:
                run_tags = {**self.sent.study["context"], **tags, PARENT_TAG: self.parent.id}
                run["id"] = self.client.create_run(
                    self.parent.experiment, to_milliseconds(started), run_tags, name
                ).info.run_id
            self.sent.runs[name] = run
        self.client.log_batch(run["id"], params=to_mlflow_params(params), synchronous=True)
        self._log_dataset(run["id"])
        return run

    def _find_created(self, name: str, started: float) -> str | None:
        """Return the child run that an earlier attempt created, which may not have been confirmed."""
        if not self.is_repeated:
            return None
        found = self.client.search_runs(
            [self.parent.experiment],
            f"tags.`{PARENT_TAG}` = '{self.parent.id}' and attributes.start_time = {to_milliseconds(started)}",
        )
        return next((str(run.info.run_id) for run in found if run.info.run_name == name), None)

    def _continue_parent(self) -> None:
        """Mark the parent as running before something is added to it."""
        if self.parent.is_unchanged:
            self.parent.reopen()
            self._measure_machine()

    def _measure_machine(self) -> None:
        """Log the load of the machine to the parent from now on, if that is requested."""
        if self.sent.study["system_metrics"]:
            self.monitor = start_monitor(self.parent.id, self.client.tracking_uri)

    def recover(self) -> None:
        """Continue after the store did not answer: MLflow's monitor of the machine ends when it fails."""
        if self.monitor is not None:
            self.stop_monitor()
            self._measure_machine()

    def stop_monitor(self) -> None:
        """Stop logging the load of the machine."""
        if self.monitor is not None:
            self.monitor.finish()  # type: ignore[no-untyped-call]
            self.monitor = None

    def _log_epochs(self, entries: Sequence[Entry]) -> None:
        """Log the epochs of runs that are open."""
        for name, run in self.sent.runs.items():
            own = [entry for entry in entries if entry["name"] == name]
            metrics = [
                metric for entry in own for metric in to_mlflow_metrics(entry["values"], entry["step"], entry["time"])
            ]
            log_metrics(self.client, run["id"], metrics, self.is_repeated)

    def _finish_run(self, entry: Entry) -> None:
        if run := self.sent.runs.get(entry["name"]):
            folder = self.folder / entry["folder"]
            self._close_run(entry["name"], run, folder, read_document(folder / "result.json", RunResult), entry["time"])

    def _close_run(self, name: str, run: Mapping[str, Any], folder: Path, result: RunResult, now: float) -> None:
        """Log the result of a run, and mark it as finished."""
        ended = result.training.finished if result.training and run["is_finished"] else now
        is_student = result.run.role == "student" and (folder / "model.pt").exists()
        model = self._log_model(run["id"], folder / "model.pt", result.run) if is_student else None
        self._log_result(run["id"], folder, result, ended, None if model is None else f"models:/{model}")
        self.client.set_terminated(run["id"], "FINISHED", to_milliseconds(ended))
        del self.sent.runs[name]

    def _log_result(self, run_id: str, folder: Path, result: RunResult, when: float, model_uri: str | None) -> None:
        """Log the parameters, metrics and files of a finished run, and write down where they are."""
        from pipelines.report.charts.matrices import plot_confusion
        from pipelines.report.charts.output import save_figure

        logged = self.client.get_run(run_id).data.params
        params = to_mlflow_params(training_params(result.training), logged)
        self.client.log_batch(run_id, params=params, synchronous=True)
        model = None if model_uri is None else model_uri.removeprefix("models:/")
        metrics = to_mlflow_metrics(result_metrics(result), 0, when, model)
        log_metrics(self.client, run_id, metrics, self.is_repeated)
        last = result.last
        save_figure(plot_confusion(last.confusion_matrix(), list(last.recall), result.name), folder / "confusion.png")
        for path in sorted(folder.iterdir()):
            if path.suffix in RUN_FILES and path.name not in (TRACKED_FILE, "unfinished.pt"):
                self.client.log_artifact(run_id, str(path))
        uri = redact_uri(self.client.tracking_uri)
        write_tracked(folder, TrackedRun(run_id, uri, model_uri, file_digest(folder / "result.json")))

    def _log_finished_run(self, entry: Entry) -> None:
        """Log a run that was finished before, dated to when it was trained; where it is logged already, only what is new."""
        name, folder = entry["name"], self.folder / entry["folder"]
        result = read_document(folder / "result.json", RunResult)
        tracked = read_tracked_run(folder)
        logged = None if tracked is None else self._find_run(tracked)
        if tracked is not None and logged is not None:
            if tracked.digest != file_digest(folder / "result.json"):
                self._update_run(logged, entry, result, tracked.model_uri)
            if self.sent.runs.get(name, {}).get("id") == tracked.run_id:  # its end was not confirmed
                del self.sent.runs[name]
            if logged.data.tags[PARENT_TAG] != self.parent.id:
                self.sent.linked[name] = f"[{name}]({run_link(logged)})"
            return
        tags = {**entry["tags"], "reused_from": entry["tags"]["study"] if tracked is None else tracked.run_id}
        finished = result.training.finished if result.training else entry["time"]
        started = finished - (result.training.seconds if result.training else 0.0)
        run = self._open_run(name, tags, entry["params"], started, is_finished=True)
        metrics = [
            metric
            for step, values in read_epoch_metrics(folder)
            for metric in to_mlflow_metrics(values, step, started + values.get("seconds", 0.0))
        ]
        log_metrics(self.client, run["id"], metrics, self.is_repeated)
        self._close_run(name, run, folder, result, entry["time"])

    def _find_run(self, tracked: TrackedRun) -> "Run | None":
        """Return the child run that holds a finished run, if this store still has it and its parent."""
        from mlflow.exceptions import MlflowException

        if tracked.tracking_uri != redact_uri(self.client.tracking_uri):
            return None
        try:
            run = self.client.get_run(tracked.run_id)
            parent = run.data.tags.get(PARENT_TAG)
            if run.info.status == "FINISHED" and run.info.lifecycle_stage == "active" and self._has_parent(parent):
                return run
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
        return None

    def _has_parent(self, run_id: str | None) -> bool:
        """Return whether a parent run exists."""
        if run_id is not None and run_id not in self.parents:
            self.parents[run_id] = self.client.get_run(run_id).info.lifecycle_stage == "active"
        return run_id is not None and self.parents[run_id]

    def _update_run(self, logged: "Run", entry: Entry, result: RunResult, model_uri: str | None) -> None:
        """Add to a logged run what is new since: of another evaluation, or of a later version of robustkd."""
        self._continue_parent()
        run_id = logged.info.run_id
        params = to_mlflow_params(entry["params"], logged.data.params)
        self.client.log_batch(run_id, params=params, tags=to_mlflow_tags(entry["tags"]), synchronous=True)
        self._log_dataset(run_id)
        self._log_result(run_id, self.folder / entry["folder"], result, entry["time"], model_uri)

    def _pause_run(self, entry: Entry) -> None:
        if run := self.sent.runs.get(entry["name"]):
            self.client.log_batch(run["id"], tags=to_mlflow_tags(entry["tags"]), synchronous=True)
            self.client.set_terminated(run["id"], "FINISHED", to_milliseconds(entry["time"]))
            del self.sent.runs[entry["name"]]

    def _fail_run(self, entry: Entry) -> None:
        if run := self.sent.runs.get(entry["name"]):
            self.client.set_tag(run["id"], "failure", entry["message"][:MAX_TAG])
            self.client.set_terminated(run["id"], "FAILED", to_milliseconds(entry["time"]))
            del self.sent.runs[entry["name"]]

    def _finish_study(self, entry: Entry) -> None:
        """Close the study's run, and those that are open because it was stopped: what they logged is kept."""
        self.stop_monitor()
        self._kill_runs(entry["time"])
        headline = Headline(**entry["headline"]) if entry["headline"] else None
        links = ", ".join(self.sent.linked.values())
        text = f"Runs logged by an earlier command: {links}" if links else ""
        comparison = self.folder / entry["comparison"] if entry["comparison"] else None
        self.parent.close(comparison, headline, text, entry["status"], when=entry["time"], is_repeated=self.is_repeated)
        self.sent.study = {}

    def close_abandoned(self) -> None:
        """Mark what is open as killed, because nothing more will be logged: its command has died."""
        self.stop_monitor()
        self._kill_runs(time.time())
        if self.sent.study:
            self.parent.kill()
            self.sent.study = {}

    def _kill_runs(self, when: float) -> None:
        """Mark the open runs as killed."""
        from mlflow.exceptions import MlflowException

        for name, run in list(self.sent.runs.items()):
            try:
                self.client.set_terminated(run["id"], "KILLED", to_milliseconds(when))
            except MlflowException as error:
                if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):  # it was deleted
                    raise
            del self.sent.runs[name]

    def _log_dataset(self, run_id: str) -> None:
        """Log the study's data set as an input of a run, if it has one."""
        if dataset := self.sent.study["dataset"]:
            self.client.log_inputs(run_id, [to_mlflow_dataset(dataset)])

    def _log_model(self, run_id: str, path: Path, key: RunKey) -> str | None:
        """Log a network as the run's model; return its id, or None where that cannot be done."""
        try:
            load_plugins(self.sent.study["plug"])  # they may define the network
            return log_model(self.client, self.parent.experiment, run_id, path, key, self.is_repeated)
        except Exception as error:  # e.g. torch.export cannot trace the network, or the server has no logged models
            if is_outage(error):
                raise
            self.client.set_tag(run_id, "model", f"not logged: {summarise_error(error)}")
            self.report(f"{path}: no model is logged to MLflow ({summarise_error(error)})")
            return None


WRITERS: dict[str, Callable[[RunLogger, Entry], None]] = {
    "open_study": RunLogger._open_study,
    "start_run": RunLogger._start_run,
    "finish_run": RunLogger._finish_run,
    "pause_run": RunLogger._pause_run,
    "fail_run": RunLogger._fail_run,
    "log_finished_run": RunLogger._log_finished_run,
    "finish_study": RunLogger._finish_study,
}


def read_epoch_metrics(folder: Path) -> list[tuple[int, dict[str, float]]]:
    """Return each epoch of a run's epochs.csv with its metrics; none if there is no such file."""
    import pandas as pd

    if not (folder / "epochs.csv").exists():
        return []
    rows = pd.read_csv(folder / "epochs.csv").to_dict("records")
    return [(int(row["epoch"]), epoch_metrics({str(key): value for key, value in row.items()})) for row in rows]
