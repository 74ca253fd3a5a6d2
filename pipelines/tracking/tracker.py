"""The tracker that writes to MLflow: a parent run for the study, and a child run for each of its runs."""

import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from pipelines.console import console
from pipelines.tracking.metrics import result_metrics, training_params
from pipelines.tracking.models import save_model
from pipelines.tracking.names import legal_name
from pipelines.tracking.store import hide_password, open_client, summarise_error
from robustkd.errors import UsageError
from robustkd.study.results import RunKey, RunResult

if TYPE_CHECKING:
    from mlflow.entities import Metric

EXPERIMENT = "robustkd"
INTERVAL = 5.0  # seconds between batches of metrics
MAX_LENGTH = {"params": 6000, "tags": 8000}  # characters of a value
RUN_FILES = (".csv", ".json", ".pt", ".png")  # logged from a run's folder; not the logits of the test set
TABLE_FILES = (".csv", ".md", ".tex", ".png", ".svg", ".txt", ".json", ".html")  # logged from a comparison's folder
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
                markup=False,
            )

    return attempt


@dataclass
class OpenRun:
    """An open run of MLflow.

    Attributes:
        began: in seconds since 1970, of a finished run that is logged again; None of others.
        params: names of the parameters that are logged.
        waiting: metrics that are not sent yet.
    """

    id: str
    began: float | None
    params: set[str]
    waiting: "list[Metric]" = field(default_factory=list)


class MlflowTracker:
    """A parent run for the study and a child run for each of its runs, without MLflow's active run.

    Args:
        experiment: its name, or None for the one that MLflow's environment variables name, or else `EXPERIMENT`.
        new_parent: create a parent run even if `mlflow run` provides one.
    """

    def __init__(self, experiment: str | None = None, new_parent: bool = False) -> None:
        self.client = open_client()
        self.experiment_name = experiment
        self.provided_run = os.environ.get("MLFLOW_RUN_ID")  # created, and later closed, by `mlflow run`
        self.new_parent = new_parent
        self.parent = self.experiment = ""
        self.context: dict[str, str] = {}  # user, source and commit
        self.runs: dict[str, OpenRun] = {}
        self.last_sent = time.monotonic()
        self.failed = False

    @property
    def location(self) -> str:
        uri = hide_password(self.client.tracking_uri)
        if uri.startswith("http"):
            return f"{uri}/#/experiments/{self.experiment}/runs/{self.parent}"
        return f"run {self.parent} in {uri}"

    def start_study(
        self,
        name: str,
        params: Mapping[str, Any],
        resolved: Mapping[str, Any],
        config: Mapping[str, Any],
        scenario_files: Sequence[Path],
        dataset: Mapping[str, Any],
        tags: Mapping[str, str],
    ) -> None:
        from mlflow.exceptions import MlflowException

        try:
            logged = self._open_parent(name, tags)
            all_params = {**params, **{f"resolved/{key}": value for key, value in resolved.items()}}
            self._log_params(self.parent, all_params, logged)
            text = json.dumps(config, indent=2, default=str, ensure_ascii=False)
            self.client.log_text(self.parent, text, "config.json")
            for path in scenario_files:
                self.client.log_artifact(self.parent, str(path), "scenario")
            if dataset:
                self._log_dataset(dataset)
        except (MlflowException, OSError) as error:
            raise UsageError(
                f"MLflow cannot be used ({summarise_error(error)}); `--tracker files` does without it"
            ) from None

    def _open_parent(self, name: str, tags: Mapping[str, str]) -> set[str]:
        """Create the parent run, or use the provided one; return the names of its parameters, which MLflow cannot change."""
        from mlflow.entities import RunTag
        from mlflow.tracking.context.registry import resolve_tags

        self.context = resolve_tags()
        if self.provided_run and not self.new_parent:
            run = self.client.get_run(self.provided_run)
            run_tags = [RunTag(key, value[: MAX_LENGTH["tags"]]) for key, value in tags.items()]
            self.client.log_batch(self.provided_run, tags=run_tags, synchronous=True)
        else:
            run = self.client.create_run(self._find_experiment(), tags={**self.context, **tags}, run_name=name)
        self.parent, self.experiment = run.info.run_id, run.info.experiment_id
        return set(run.data.params)

    def _find_experiment(self) -> str:
        """Return the id of the experiment: of the provided run, as requested, from MLflow's variables, or `EXPERIMENT`."""
        from mlflow.exceptions import MlflowException

        if self.provided_run:
            return str(self.client.get_run(self.provided_run).info.experiment_id)
        name = self.experiment_name or os.environ.get("MLFLOW_EXPERIMENT_NAME")
        if name is None and "MLFLOW_EXPERIMENT_ID" in os.environ:
            return os.environ["MLFLOW_EXPERIMENT_ID"]
        name = name or EXPERIMENT
        if existing := self.client.get_experiment_by_name(name):
            return existing.experiment_id
        try:
            return self.client.create_experiment(name)
        except MlflowException:  # a study that started at the same time may have created it
            if existing := self.client.get_experiment_by_name(name):
                return existing.experiment_id
            raise

    def _log_dataset(self, dataset: Mapping[str, Any]) -> None:
        """Log the data set by its name and digest, without reading its images again."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source = str(dataset.get("source", dataset["name"]))
        path = source.partition(":")[2] or source
        local = Path(path).exists()
        data = Dataset(
            name=str(dataset["name"])[:500],
            digest=str(dataset["digest"])[:36],
            source_type="local" if local else "code",
            source=json.dumps({"uri": str(Path(path).resolve())} if local else {"tags": {"dataset": source}}),
            profile=json.dumps(dataset.get("counts", {})),
        )
        self.client.log_inputs(self.parent, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])

    @non_fatal
    def start_run(
        self,
        name: str,
        tags: Mapping[str, str],
        params: Mapping[str, Any],
        reused_from: str | None = None,
        began: float | None = None,
    ) -> None:
        run_tags = {**self.context, **tags, "mlflow.parentRunId": self.parent}
        if reused_from is not None:
            run_tags["reused_from"] = reused_from
        run = self.client.create_run(self.experiment, start_time=_milliseconds(began), tags=run_tags, run_name=name)
        self.runs[name] = OpenRun(run.info.run_id, began, set())
        self._log_params(run.info.run_id, params, self.runs[name].params)

    @non_fatal
    def log_epoch(self, name: str, step: int, values: Mapping[str, float]) -> None:
        run = self.runs.get(name)
        if run is None:  # an event from another process may arrive after the end
            return
        when = None if run.began is None else run.began + values.get("seconds", 0.0)
        run.waiting += to_mlflow_metrics(values, step, when)
        if time.monotonic() - self.last_sent > INTERVAL:
            for open_run in self.runs.values():
                self._send_metrics(open_run)
            self.last_sent = time.monotonic()

    @non_fatal
    def finish_run(self, name: str, folder: Path, result: RunResult) -> None:
        from pipelines.report.charts.matrices import plot_confusion
        from pipelines.report.charts.output import save_figure

        run, training = self.runs[name], result.training
        ended = training.finished if training and run.began is not None else None
        self._send_metrics(run)
        self._log_params(run.id, training_params(training), run.params)
        is_student = result.run.role == "student" and (folder / "model.pt").exists()
        model = self._log_model(run, folder / "model.pt", result.run) if is_student else None
        run.waiting += to_mlflow_metrics(result_metrics(result), 0, ended, model)
        self._send_metrics(run)
        last = result.last
        save_figure(plot_confusion(last.confusion, list(last.recall), name), folder / "confusion.png")
        for path in sorted(folder.iterdir()):
            if path.suffix in RUN_FILES and path.name not in ("tracked.json", "unfinished.pt"):
                self.client.log_artifact(run.id, str(path))
        uri = None if model is None else f"models:/{model}"
        reference = {"run_id": run.id, "tracking_uri": hide_password(self.client.tracking_uri), "model_uri": uri}
        (folder / "tracked.json").write_text(json.dumps(reference, indent=2))
        self.client.set_terminated(run.id, "FINISHED", _milliseconds(ended))
        del self.runs[name]

    @non_fatal
    def fail_run(self, name: str, message: str) -> None:
        if run := self.runs.pop(name, None):
            self._send_metrics(run)
            self.client.set_tag(run.id, "failure", message[: MAX_LENGTH["tags"]])
            self.client.set_terminated(run.id, "FAILED")

    def finish_study(self, comparison: Path | None, failed: bool, metrics: Mapping[str, float] | None = None) -> None:
        if self.failed:
            self._kill_runs()
        else:
            self._close_study(comparison, failed, metrics)

    def _kill_runs(self) -> None:
        """Mark open runs as killed if the store works again, so that none appears to be running for ever."""
        from mlflow.exceptions import MlflowException

        parents = [] if self.parent == self.provided_run else [self.parent]
        with suppress(MlflowException, OSError):
            for run_id in [*(run.id for run in self.runs.values()), *parents]:
                self.client.set_terminated(run_id, "KILLED")

    @non_fatal
    def _close_study(self, comparison: Path | None, failed: bool, metrics: Mapping[str, float] | None) -> None:
        for run in self.runs.values():  # the study was stopped: what they logged is kept
            self._send_metrics(run)
            self.client.set_terminated(run.id, "KILLED")
        for path in sorted(comparison.iterdir()) if comparison else ():
            if path.suffix in TABLE_FILES:
                self.client.log_artifact(self.parent, str(path), "comparison")
        self.client.log_batch(self.parent, metrics=to_mlflow_metrics(metrics or {}, 0), synchronous=True)
        if self.parent != self.provided_run:
            self.client.set_terminated(self.parent, "FAILED" if failed else "FINISHED")

    def _send_metrics(self, run: OpenRun) -> None:
        """Send the waiting metrics. The client splits metrics and parameters into batches of the size that a store accepts."""
        waiting, run.waiting = run.waiting, []
        self.client.log_batch(run.id, metrics=waiting, synchronous=True)

    def _log_params(self, run_id: str, values: Mapping[str, Any], logged: set[str]) -> None:
        """Log the parameters that are not logged yet."""
        from mlflow.entities import Param

        new = {
            legal_name(key): str(value)[: MAX_LENGTH["params"]]
            for key, value in values.items()
            if legal_name(key) not in logged
        }
        self.client.log_batch(run_id, params=[Param(*pair) for pair in new.items()], synchronous=True)
        logged |= new.keys()

    def _log_model(self, run: OpenRun, path: Path, key: RunKey) -> str | None:
        """Log a network as the run's model; return its id, or None where that cannot be done."""
        try:
            return self._create_model(run, path, key)
        except (
            Exception
        ) as error:  # e.g. torch.export cannot trace the network, or the server is older than logged models
            self.client.set_tag(run.id, "model", f"not logged: {summarise_error(error)}")
            console.print(f"{path}: no model is logged to MLflow ({summarise_error(error)})", markup=False)
            return None

    def _create_model(self, run: OpenRun, path: Path, key: RunKey) -> str:
        """Log a network as the run's model; return its id."""
        from mlflow.entities import LoggedModelOutput

        with tempfile.TemporaryDirectory() as folder:
            card = save_model(path, Path(folder, "model"))
            params = {name: str(value)[: MAX_LENGTH["params"]] for name, value in key.model_dump().items()}
            model = self.client.create_logged_model(self.experiment, "model", run.id, params=params)
            card.model_id = card.model_uuid = model.model_id
            card.run_id, card.artifact_path = run.id, model.artifact_location
            card.save(str(Path(folder, "model", "MLmodel")))
            self.client.log_model_artifacts(model.model_id, str(Path(folder, "model")))
        self.client.finalize_logged_model(model.model_id, "READY")
        self.client.log_outputs(run.id, [LoggedModelOutput(model.model_id, step=0)])
        return str(model.model_id)


def to_mlflow_metrics(
    values: Mapping[str, float | None], step: int, when: float | None = None, model: str | None = None
) -> "list[Metric]":
    """Convert metrics to MLflow's, dated now or at a given time, without missing and non-finite values."""
    from mlflow.entities import Metric

    timestamp = _milliseconds(when)
    return [
        Metric(legal_name(name), float(value), timestamp, step, model_id=model)
        for name, value in values.items()
        if value is not None and math.isfinite(value)
    ]


def _milliseconds(seconds: float | None) -> int:
    """Convert a time in seconds since 1970, or the current time, to milliseconds."""
    return round(1000 * (time.time() if seconds is None else seconds))
