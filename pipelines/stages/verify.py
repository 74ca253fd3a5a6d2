"""verify: check every file of a study against its checksums, and say what its command would make again."""

from pathlib import Path

from pipelines.console import console
from robustkd.data import manifest
from robustkd.errors import ExecutionError, UsageError
from robustkd.study.integrity import DOCUMENTS, find_damaged_files
from robustkd.study.results import COST_RATIO, Document, MeasuredRatio, StudyRecord, read_document
from robustkd.training.checkpoint import load_checkpoint


def main(folder: Path) -> None:
    """Check a study's files. Nothing is changed.

    Raises:
        robustkd.errors.UsageError: the folder is not a study's.
        robustkd.errors.ExecutionError: files are damaged or missing.
    """
    if not (folder / "study.json").exists() and not (folder / "runs").is_dir():
        raise UsageError(f"{folder}: this is not the folder of a study: it has no study.json")
    problems = [*_check_records(folder), *_check_manifests(folder)]
    runs = sorted(path for path in (folder / "runs").glob("*") if path.is_dir())
    for run in runs:
        problems += [f"runs/{run.name}/{problem}" for problem in check_run(run)]
    for problem in problems:
        console.print(problem)
    if problems:
        raise ExecutionError(
            f"{folder}: {len(problems)} files are damaged or missing; the command that made the study makes them again"
        )
    count = f"{len(runs)} {'run' if len(runs) == 1 else 'runs'}"
    console.print(f"{folder}: the files of {count} are as they were written")


def check_run(folder: Path) -> list[str]:
    """Return what is wrong with a run's files, and what happens with each: a line per file."""
    lines = [f"{name}: damaged; it will be made again" for name in find_damaged_files(folder)]
    for name, model in DOCUMENTS.items():
        try:
            document = read_document(folder / name, model)
        except UsageError:  # damaged, which is known already, or not written yet
            continue
        missing = [file for file in document.files if not (folder / file).exists()]
        lines += [f"{file}: missing; it will be made again" for file in missing]
    if (folder / "unfinished.pt").exists():
        try:
            load_checkpoint(folder / "unfinished.pt")
        except UsageError:
            lines.append("unfinished.pt: damaged; the run will start again")
    return lines


def _check_records(folder: Path) -> list[str]:
    lines = []
    models: dict[str, type[Document]] = {"study.json": StudyRecord, COST_RATIO: MeasuredRatio}
    for name, model in models.items():
        if name != COST_RATIO or (folder / name).exists():
            try:
                read_document(folder / name, model)
            except UsageError as error:
                lines.append(str(error))
    return lines


def _check_manifests(folder: Path) -> list[str]:
    """Return what is wrong with the cards and tables of the scenario's draws."""
    lines = []
    for card in sorted(folder.glob("manifest-*.json")):
        try:
            manifest.check_manifest(card)
        except UsageError as error:
            lines.append(f"{error}; it will be written again")
    return lines
