"""What a study logs to MLflow. Only this package imports MLflow, and only when a tracker or a reference needs it.

Plain files are written with any tracker, and they are complete. Therefore an MLflow store that cannot be used is refused at
the start; if it fails later, the study continues without logging.

    study                   parent run: options as typed, resolved/<key>, config.json, scenario/, comparison/
      hinton-seed0          child run: train/<term>, test/accuracy, held_out/accuracy by epoch; accuracy, recall/<class>;
                            its files, and for a student the model: uint8 (n, H, W, C) -> probabilities (n, K)
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pipelines.references import is_reference
from pipelines.tracking.models import download_network, save_model
from pipelines.tracking.reading import list_studies, load_record

if TYPE_CHECKING:
    from robustkd.study.results import RunResult

__all__ = [
    "NullTracker",
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
        """Open the study's run.

        Args:
            params: options as typed.
            resolved: settings that the options resulted in.
            config: the whole configuration, as one document.
            dataset: `name`, `digest`, `source` (a path or a name) and, where known, `counts`; empty for none.

        Raises:
            robustkd.errors.UsageError: the tracker cannot be written to.
        """

    def start_run(
        self,
        name: str,
        tags: Mapping[str, str],
        params: Mapping[str, Any],
        reused_from: str | None = None,
        began: float | None = None,
    ) -> None:
        """Open a run of the study.

        Args:
            reused_from: of a finished run that is logged again, where it was logged first.
            began: of such a run, when its training began, in seconds since 1970.
        """

    def log_epoch(self, name: str, step: int, values: Mapping[str, float]) -> None:
        """Log the metrics of an epoch; `seconds`, if present, dates the epochs of a run that is logged again."""

    def finish_run(self, name: str, folder: Path, result: "RunResult") -> None:
        """Close a run with its result, the files of its folder and, for a student, its model."""

    def fail_run(self, name: str, message: str) -> None:
        """Close a run that failed."""

    def finish_study(self, comparison: Path | None, failed: bool, metrics: Mapping[str, float] | None = None) -> None:
        """Close the study's run, with the folder of its comparison and its headline metrics."""


def open_tracker(kind: Literal["mlflow", "files"], experiment: str | None = None, new_parent: bool = False) -> Tracker:
    """Open the requested tracker.

    Args:
        new_parent: create a parent run even if `mlflow run` provides one, which belongs to the sweep that the study is part of.

    Raises:
        robustkd.errors.UsageError: MLflow is not installed, its server does not answer, or its store cannot be opened.
    """
    if kind == "files":
        return NullTracker()
    from pipelines.tracking.tracker import MlflowTracker

    return MlflowTracker(experiment, new_parent)


class NullTracker:
    """A tracker that logs nothing; the study has only its files."""

    location = ""

    def start_study(self, *_: object, **__: object) -> None:
        """Do nothing."""

    start_run = log_epoch = finish_run = fail_run = finish_study = start_study
