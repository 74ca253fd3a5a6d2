"""What a study tells MLflow. The only folder that imports it, and only once a tracker or a reference asks for it.

Plain files are written whatever the tracker is, and they are complete. So MLflow is refused at once where it cannot be
used; where it goes away half-way, the study loses its entries there and goes on.

    study                   parent run: the words as typed, resolved/<key>, config.json, scenario/, comparison/
      hinton-seed0          child run: train/<term>, test/accuracy, held_out/accuracy by epoch; accuracy, recall/<class>;
                            its files, and for a student the model: uint8 (n, H, W, C) -> probabilities (n, K)
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pipelines.tracking.models import is_reference, resolve, save
from pipelines.tracking.reading import list_studies, load_record

if TYPE_CHECKING:
    from robustkd.study.results import RunResult

__all__ = ["Files", "Tracker", "is_reference", "list_studies", "load_record", "open_tracker", "resolve", "save"]


class Tracker(Protocol):
    """Whom a study tells what it does, run by run."""

    @property
    def where(self) -> str:
        """Where a person finds the study's run, or nothing."""

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
        """Open the study's own run.

        Args:
            params: the words as typed.
            resolved: what they came to.
            config: all there is to know, as one document.
            dataset: its `name`, `digest`, `source` (a path or a word) and, where known, `counts`; empty where there is none.

        Raises:
            robustkd.errors.UsageError: the tracker cannot be written to.
        """

    def start(
        self,
        cell: str,
        tags: Mapping[str, str],
        params: Mapping[str, Any],
        reused_from: str | None = None,
        began: float | None = None,
    ) -> None:
        """Open the run of a cell; one that is logged again says from where, and when it really began."""

    def epoch(self, cell: str, step: int, values: Mapping[str, float]) -> None:
        """Take an epoch's figures; `seconds`, if among them, dates the epochs of a run that is logged again."""

    def finish(self, cell: str, folder: Path, result: "RunResult") -> None:
        """Close a cell's run with its result.json, its folder's files and, for a student, its model."""

    def fail(self, cell: str, message: str) -> None:
        """Close a cell's run that came to nothing."""

    def end(self, comparison: Path | None, failed: bool, metrics: Mapping[str, float] | None = None) -> None:
        """Close the study's run, with a folder of tables and its headline figures."""


def open_tracker(kind: Literal["mlflow", "files"], experiment: str | None = None, own: bool = False) -> Tracker:
    """The tracker that a study was asked to use.

    Args:
        own: make a run even where `mlflow run` has lent one: that is the sweep's, and its studies' stand beside it.

    Raises:
        robustkd.errors.UsageError: MLflow is not installed, its server does not answer, or its store cannot be opened.
    """
    if kind == "files":
        return Files()
    from pipelines.tracking.tracker import Mlflow

    return Mlflow(experiment, own)


class Files:
    """No tracker: what the study writes itself is all there is."""

    where = ""

    def begin(self, *_: object, **__: object) -> None: ...

    start = epoch = finish = fail = end = begin
