"""What a study logs to MLflow. Only this package imports MLflow, and only when a tracker or a reference needs it.

Plain files are written with any tracker, and they are complete. An MLflow store that cannot be used is refused at the start. If
it fails later, the study continues, and what is to be logged waits in the study's folder.

    study process           MlflowTracker: opens the study's run, then appends to STUDY/outbox.jsonl
    sending process         EntrySender: reads the outbox, tries again; RunLogger: writes each entry to MLflow

    study                   parent run: options as typed, resolved/<key>; gain/<method>, balanced_accuracy/<method>, ...; the
                            answer as its description; config.json, scenario/, comparison/
      hinton-seed0          child run: the options that decide its results; train/<term>, test/accuracy, held_out/accuracy by
                            epoch; accuracy, recall/<class>; its files, and for a student the model: uint8 (n, H, W, C) ->
                            probabilities (n, K)

tracked.json in the folder of a study and of each run names its run in MLflow. So a repeated command logs only what is new.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pipelines.references import is_reference
from pipelines.tracking.entities import PARENT_TAG
from pipelines.tracking.models import download_network, save_model
from pipelines.tracking.parent import RunStatus
from pipelines.tracking.reading import list_studies, load_record
from robustkd.errors import UsageError

if TYPE_CHECKING:
    from pipelines.tracking.headline import Summarise

__all__ = [
    "PARENT_TAG",
    "NullTracker",
    "RunStatus",
    "Tracker",
    "download_network",
    "is_reference",
    "list_studies",
    "load_record",
    "open_tracker",
    "save_model",
]


class Tracker(Protocol):
    """Interface to which a study logs its runs."""

    @property
    def location(self) -> str:
        """Where the study's run is found, or an empty string."""

    @property
    def run_id(self) -> str:
        """The id of the study's run, or an empty string."""

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
        """Open the study's run, or that of an earlier command with the same parameters.

        Args:
            params: options as typed.
            resolved: settings that the options resulted in.
            config: the whole configuration, as one document.
            dataset: `name`, `digest`, `source` (a path or a name) and, where known, `counts`; empty for none.
            tags: among them the stage.
            folder: of the study, or of the sweep, which may not exist yet.

        Raises:
            robustkd.errors.UsageError: the tracker cannot be written to.
        """

    def start_run(self, name: str, tags: Mapping[str, str], params: Mapping[str, Any]) -> None:
        """Open a run of the study."""

    def log_epoch(self, name: str, step: int, values: Mapping[str, float]) -> None:
        """Log the metrics of an epoch. An epoch that was logged before is ignored."""

    def finish_run(self, name: str, folder: Path) -> None:
        """Close a run with the result in its folder, its files and, for a student, its model."""

    def pause_run(self, name: str, tags: Mapping[str, str]) -> None:
        """Close a run of a race that is paused, and has no result. If it goes on, that is another run here."""

    def fail_run(self, name: str, message: str) -> None:
        """Close a run that failed."""

    def log_finished_run(self, name: str, tags: Mapping[str, str], params: Mapping[str, Any], folder: Path) -> None:
        """Log a run that was finished before, dated to when it was trained; where it is logged already, only what is new.

        Args:
            tags: among them the study.
        """

    def finish_study(self, comparison: Path | None, status: RunStatus, summarise: "Summarise" = lambda: None) -> None:
        """Close the study's run, and wait for a limited time until all is logged.

        Args:
            comparison: the folder of its tables and its report.
            status: how it ended.
            summarise: returns its metrics and its answer.
        """


def open_tracker(
    kind: Literal["mlflow", "files"],
    experiment: str | None = None,
    new_parent: bool = False,
    system_metrics: bool = False,
) -> Tracker:
    """Open the requested tracker.

    Args:
        new_parent: create a parent run even if `mlflow run` provides one, which belongs to the sweep that the study is part of.
        system_metrics: log the load of the machine too.

    Raises:
        robustkd.errors.UsageError: MLflow is not installed, its server does not answer, its store cannot be opened, or what is
            requested cannot be logged.
    """
    if kind == "files":
        if system_metrics:
            raise UsageError("--system-metrics: only MLflow records them, so this needs --tracker mlflow")
        return NullTracker()
    from pipelines.tracking.system_metrics import require_psutil
    from pipelines.tracking.tracker import MlflowTracker

    if system_metrics:
        require_psutil()
    return MlflowTracker(experiment, new_parent, system_metrics)


class NullTracker:
    """A tracker that logs nothing; the study has only its files."""

    location = run_id = ""

    def start_study(self, *_: object, **__: object) -> None:
        """Do nothing."""

    start_run = log_epoch = finish_run = pause_run = fail_run = log_finished_run = finish_study = start_study
