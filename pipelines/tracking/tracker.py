"""The tracker that writes to MLflow: a parent run for the study, a child for each cell."""

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
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from pipelines.console import console
from pipelines.tracking.models import save
from pipelines.tracking.names import distinct, legal
from pipelines.tracking.store import client, line, shown
from robustkd.errors import UsageError
from robustkd.evaluation.results import NetMetrics
from robustkd.study.results import RunKey, RunResult, TrainingInfo

if TYPE_CHECKING:
    from mlflow.entities import Metric

EXPERIMENT = "robustkd"
INTERVAL = 5.0  # seconds between two batches of metrics
LONGEST = {"params": 6000, "tags": 8000}  # letters of a value
MEASURED = ("seconds", "images_per_second", "peak_memory")  # in a trained.json; the rest was chosen or follows from it
KEPT = (".csv", ".json", ".pt", ".png")  # of a run's folder; not the logits of the test set
TABLES = (".csv", ".md", ".tex", ".png", ".svg", ".txt", ".json", ".html")  # of a comparison's folder
P = ParamSpec("P")
T = TypeVar("T")


def non_fatal(call: Callable[Concatenate["Mlflow", P], None]) -> Callable[Concatenate["Mlflow", P], None]:
    """Let no failure of MLflow's end a study that is under way: the first is told, and after it nothing more is sent."""

    @wraps(call)
    def attempt(tracker: "Mlflow", /, *args: P.args, **kwargs: P.kwargs) -> None:
        from mlflow.exceptions import MlflowException

        if tracker.lost:
            return
        try:
            call(tracker, *args, **kwargs)
        except (MlflowException, OSError) as error:
            tracker.lost = True
            console.print(
                f"MLflow failed ({line(error)}), so the rest of this study is in its files only; "
                "the same command will log all of it again",
                markup=False,
            )

    return attempt


@dataclass
class OpenRun:
    """An open run of MLflow."""

    id: str
    began: float | None  # seconds since 1970, of a result that is logged again
    params: set[str]  # keys that are logged
    waiting: "list[Metric]" = field(default_factory=list)


class Mlflow:
    """A parent run for the study and a child for each cell, written through one client: no run is ever 'active'."""

    def __init__(self, experiment: str | None = None, own: bool = False) -> None:
        self.client = client()
        self.wanted = experiment
        self.lent = os.environ.get("MLFLOW_RUN_ID")  # the run that `mlflow run` made, and will close
        self.own = own  # whether it belongs to somebody else here: a sweep's studies make runs beside it
        self.parent = self.experiment = ""
        self.context: dict[str, str] = {}  # user, source and commit, found out once
        self.runs: dict[str, OpenRun] = {}
        self.sent = time.monotonic()
        self.lost = False

    @property
    def where(self) -> str:
        uri = shown(self.client.tracking_uri)
        if uri.startswith("http"):
            return f"{uri}/#/experiments/{self.experiment}/runs/{self.parent}"
        return f"run {self.parent} in {uri}"

    def begin(
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
            known = self._open(name, tags)
            words = {**params, **{f"resolved/{key}": value for key, value in resolved.items()}}
            self._params(self.parent, words, known)
            text = json.dumps(config, indent=2, default=str, ensure_ascii=False)
            self.client.log_text(self.parent, text, "config.json")
            for path in scenario_files:
                self.client.log_artifact(self.parent, str(path), "scenario")
            if dataset:
                self._input(dataset)
        except (MlflowException, OSError) as error:
            raise UsageError(f"MLflow cannot be used ({line(error)}); `--tracker files` does without it") from None

    def _open(self, name: str, tags: Mapping[str, str]) -> set[str]:
        """Make or take the parent; the names of the parameters it has, whose values MLflow will not change."""
        from mlflow.entities import RunTag
        from mlflow.tracking.context.registry import resolve_tags

        self.context = resolve_tags()
        if self.lent and not self.own:
            run = self.client.get_run(self.lent)
            labels = [RunTag(key, value[: LONGEST["tags"]]) for key, value in tags.items()]
            self.client.log_batch(self.lent, tags=labels, synchronous=True)
        else:
            run = self.client.create_run(self._experiment(), tags={**self.context, **tags}, run_name=name)
        self.parent, self.experiment = run.info.run_id, run.info.experiment_id
        return set(run.data.params)

    def _experiment(self) -> str:
        """That of the run that was lent, the one that was asked for, the one that MLflow's own variables name, or ours."""
        from mlflow.exceptions import MlflowException

        if self.lent:
            return str(self.client.get_run(self.lent).info.experiment_id)
        name = self.wanted or os.environ.get("MLFLOW_EXPERIMENT_NAME")
        if name is None and "MLFLOW_EXPERIMENT_ID" in os.environ:
            return os.environ["MLFLOW_EXPERIMENT_ID"]
        name = name or EXPERIMENT
        if found := self.client.get_experiment_by_name(name):
            return found.experiment_id
        try:
            return self.client.create_experiment(name)
        except MlflowException:  # another study that began with this one may have made it
            if found := self.client.get_experiment_by_name(name):
                return found.experiment_id
            raise

    def _input(self, dataset: Mapping[str, Any]) -> None:
        """The data set by its name and digest: its images are not read again."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source = str(dataset.get("source", dataset["name"]))
        place = source.partition(":")[2] or source
        local = Path(place).exists()
        data = Dataset(
            name=str(dataset["name"])[:500],
            digest=str(dataset["digest"])[:36],
            source_type="local" if local else "code",
            source=json.dumps({"uri": str(Path(place).resolve())} if local else {"tags": {"dataset": source}}),
            profile=json.dumps(dataset.get("counts", {})),
        )
        self.client.log_inputs(self.parent, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])

    @non_fatal
    def start(
        self,
        cell: str,
        tags: Mapping[str, str],
        params: Mapping[str, Any],
        reused_from: str | None = None,
        began: float | None = None,
    ) -> None:
        labels = {**self.context, **tags, "mlflow.parentRunId": self.parent}
        if reused_from is not None:
            labels["reused_from"] = reused_from
        run = self.client.create_run(self.experiment, start_time=_stamp(began), tags=labels, run_name=cell)
        self.runs[cell] = OpenRun(run.info.run_id, began, set())
        self._params(run.info.run_id, params, self.runs[cell].params)

    @non_fatal
    def epoch(self, cell: str, step: int, values: Mapping[str, float]) -> None:
        run = self.runs.get(cell)
        if run is None:  # news from another process may come after the end
            return
        when = None if run.began is None else run.began + values.get("seconds", 0.0)
        run.waiting += _metrics(values, step, when)
        if time.monotonic() - self.sent > INTERVAL:
            for each in self.runs.values():
                self._send(each)
            self.sent = time.monotonic()

    @non_fatal
    def finish(self, name: str, folder: Path, result: RunResult) -> None:
        from pipelines.report import charts

        run, training = self.runs[name], result.training
        ended = training.finished if training and run.began is not None else None
        self._send(run)
        self._params(run.id, training_params(training), run.params)
        is_student = result.run.role == "student" and (folder / "model.pt").exists()
        model = self._log_model(run, folder / "model.pt", result.run) if is_student else None
        run.waiting += _metrics(result_metrics(result), 0, ended, model)
        self._send(run)
        last = result.last
        charts.write(charts.confusion(last.confusion, list(last.recall), name), folder / "confusion.png")
        for path in sorted(folder.iterdir()):
            if path.suffix in KEPT and path.name not in ("tracked.json", "unfinished.pt"):
                self.client.log_artifact(run.id, str(path))
        uri = None if model is None else f"models:/{model}"
        mark = {"run_id": run.id, "tracking_uri": shown(self.client.tracking_uri), "model_uri": uri}
        (folder / "tracked.json").write_text(json.dumps(mark, indent=2))
        self.client.set_terminated(run.id, "FINISHED", _stamp(ended))
        del self.runs[name]

    @non_fatal
    def fail(self, cell: str, message: str) -> None:
        if run := self.runs.pop(cell, None):
            self._send(run)
            self.client.set_tag(run.id, "failure", message[: LONGEST["tags"]])
            self.client.set_terminated(run.id, "FAILED")

    def end(self, comparison: Path | None, failed: bool, metrics: Mapping[str, float] | None = None) -> None:
        if self.lost:
            self._give_up()
        else:
            self._end(comparison, failed, metrics)

    def _give_up(self) -> None:
        """Let no run seem to go on for ever, if the store is there again."""
        from mlflow.exceptions import MlflowException

        own = [] if self.parent == self.lent else [self.parent]
        with suppress(MlflowException, OSError):
            for run_id in [*(run.id for run in self.runs.values()), *own]:
                self.client.set_terminated(run_id, "KILLED")

    @non_fatal
    def _end(self, comparison: Path | None, failed: bool, metrics: Mapping[str, float] | None) -> None:
        for run in self.runs.values():  # the study was stopped: what they had is kept
            self._send(run)
            self.client.set_terminated(run.id, "KILLED")
        for path in sorted(comparison.iterdir()) if comparison else ():
            if path.suffix in TABLES:
                self.client.log_artifact(self.parent, str(path), "comparison")
        self.client.log_batch(self.parent, metrics=_metrics(metrics or {}, 0), synchronous=True)
        if self.parent != self.lent:
            self.client.set_terminated(self.parent, "FAILED" if failed else "FINISHED")

    def _send(self, run: OpenRun) -> None:
        """Write what is waiting; the client makes the batches that a store takes at once, of parameters too."""
        waiting, run.waiting = run.waiting, []
        self.client.log_batch(run.id, metrics=waiting, synchronous=True)

    def _params(self, run_id: str, values: Mapping[str, Any], known: set[str]) -> None:
        """Log parameters but those that are known already."""
        from mlflow.entities import Param

        fresh = {
            legal(key): str(value)[: LONGEST["params"]] for key, value in values.items() if legal(key) not in known
        }
        self.client.log_batch(run_id, params=[Param(*pair) for pair in fresh.items()], synchronous=True)
        known |= fresh.keys()

    def _log_model(self, run: OpenRun, path: Path, key: RunKey) -> str | None:
        """Log a network as the run's model; return its id, or None where that cannot be done."""
        try:
            return self._model(run, path, key)
        except Exception as error:  # a network that torch.export cannot trace, a server older than logged models, ...
            self.client.set_tag(run.id, "model", f"not logged: {line(error)}")
            console.print(f"{path}: MLflow gets no model of this net ({line(error)})", markup=False)
            return None

    def _model(self, run: OpenRun, path: Path, key: RunKey) -> str:
        from mlflow.entities import LoggedModelOutput

        with tempfile.TemporaryDirectory() as folder:
            card = save(path, Path(folder, "model"))
            facts = {name: str(value)[: LONGEST["params"]] for name, value in key.model_dump().items()}
            made = self.client.create_logged_model(self.experiment, "model", run.id, params=facts)
            card.model_id = card.model_uuid = made.model_id
            card.run_id, card.artifact_path = run.id, made.artifact_location
            card.save(str(Path(folder, "model", "MLmodel")))
            self.client.log_model_artifacts(made.model_id, str(Path(folder, "model")))
        self.client.finalize_logged_model(made.model_id, "READY")
        self.client.log_outputs(run.id, [LoggedModelOutput(made.model_id, step=0)])
        return str(made.model_id)


def result_metrics(result: RunResult) -> dict[str, float | int | None]:
    """Return the numbers of a result by the names they are logged under; an attack `fgsm 8/255` becomes `fgsm 8_255`."""
    fit, training = result.fit, result.training.model_dump() if result.training else {}
    counts = fit.model_dump(include={"known", "corrupted", "foreign"}) if fit else {}
    values: dict[str, float | int | None] = {
        **_overall("", result.last),
        **_by_class("", result.last),
        **(_overall("early/", result.early) if result.early else {}),
    }
    for name, net in _distinct(result.auxiliary):
        values |= _overall(f"auxiliary/{name}/", net)
    for name, attacked in _distinct(result.robust):
        numbers = attacked.model_dump(exclude={"attack", "recall"}, exclude_none=True)
        values |= {f"robust/{name}/{key}": value for key, value in numbers.items()}
    if result.clean:
        values |= {
            "clean/rows": result.clean.rows,
            **_overall("clean/", result.clean),
            **_by_class("clean/", result.clean),
        }
    return {
        **values,
        **{f"fit/{name}": value for name, value in {**counts, **(fit.metrics if fit else {})}.items()},
        **{f"agreement/{name}": value for name, value in (result.agreement or {}).items()},
        **{f"corruptions/{kind}/{n}": v for kind, of in (result.corruptions or {}).items() for n, v in of.items()},
        **{f"cost/{name}": value for name, value in result.cost.model_dump(exclude=set(MEASURED)).items()},
        **{f"training/{name}": training[name] for name in MEASURED if name in training},
    }


def _overall(prefix: str, net: NetMetrics) -> dict[str, float | None]:
    """Return the metrics that are one number, with those per group of classes and after temperature scaling."""
    scaled = net.scaled.model_dump() if net.scaled else {}
    parts = {
        **{f"groups/{name}": value for name, value in net.groups.items()},
        **{f"scaled/{name}": value for name, value in scaled.items()},
    }
    return {f"{prefix}{name}": value for name, value in {**net.metrics, **parts}.items()}


def _by_class(prefix: str, net: NetMetrics) -> dict[str, float | None]:
    """Return the metrics per class, under names that are all different."""
    return {
        f"{prefix}{metric}/{name}": value
        for metric, values in net.by_class.items()
        for name, value in _distinct(values)
    }


def _distinct(values: Mapping[str, T]) -> list[tuple[str, T]]:
    """Rename the keys to names that MLflow accepts and distinguishes."""
    return list(zip(distinct(values), values.values(), strict=True))


def training_params(training: TrainingInfo | None) -> dict[str, Any]:
    """Return the parameters in a trained.json: all but what was measured."""
    if training is None:
        return {}
    values = training.model_dump(exclude={*MEASURED, "finished", "format"})
    return {**values.pop("hyperparameters"), **values}


def _metrics(
    values: Mapping[str, float | None], step: int, when: float | None = None, model: str | None = None
) -> "list[Metric]":
    """MLflow's metrics, of now or of a time, without those that are no number."""
    from mlflow.entities import Metric

    stamp = _stamp(when)
    return [
        Metric(legal(name), float(value), stamp, step, model_id=model)
        for name, value in values.items()
        if value is not None and math.isfinite(value)
    ]


def _stamp(seconds: float | None) -> int:
    """A time as MLflow counts it, or now."""
    return round(1000 * (time.time() if seconds is None else seconds))
