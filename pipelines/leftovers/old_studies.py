"""Studies that no command continues, because --fresh replaced them or a later version of robustkd names them otherwise.

A study is superseded if

* its name ends in the date on which --fresh replaced it,
* its files have an older format, which this version does not read,
* all its networks were trained by an older RESULTS_VERSION, so that the same options lead to a study of another name, or
* an older version of robustkd made it, with options that this one does not have.

A study of a newer version, or one whose record is damaged, is not. A superseded study is kept if a command is at work on it, if
MLflow has not received all of it, or if there is anything in it that robustkd does not write.
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

import robustkd
from pipelines.folder_names import SET_ASIDE
from pipelines.leftovers.leftover import Leftover, is_plain_file, list_folders, read_json
from pipelines.tracking.outbox import OUTBOX_FILE, SENT_FILE
from pipelines.tracking.tracked import TRACKED_FILE
from robustkd.atomic import TEMPORARY
from robustkd.errors import UsageError
from robustkd.hashing import json_digest
from robustkd.locks import LOCK_FILE, hold_lock
from robustkd.study.integrity import DAMAGED, DOCUMENTS
from robustkd.study.options import StudyOptions
from robustkd.study.results import CHECKSUM, COST_RATIO, FORMAT
from robustkd.study.run_folder import EVALUATED, TRAINED
from robustkd.study.versions import RESULTS_VERSION

STUDY_FILE = "study.json"
STUDY_KEYS = {"methods", "options", "seeds", "fingerprint"}  # of study.json in every format

# The names that robustkd writes, by the folder of a study. Anything else keeps a study.
IN_STUDY = re.compile(r"manifest-\d+\.(json|csv|parquet)")
STUDY_NAMES = {LOCK_FILE, STUDY_FILE, COST_RATIO, TRACKED_FILE, OUTBOX_FILE, SENT_FILE}
RUN_NAMES = {*TRAINED, *EVALUATED, *DOCUMENTS, LOCK_FILE, TRACKED_FILE, "unfinished.pt", "error.txt", "confusion.png"}
IN_COMPARISON = re.compile(
    r"(along|classes|costs|per_class|per_class_clean|summary|verdicts)\.csv|comparison\.(txt|md|tex)|report\.html"
    r"|(accuracy|cost|curves|difference|memorised|overview|per_class|recovered|sizes|transitions)\.png"
    r"|(classes|confusion|reliability)-\w+\.png"
)


class OldStudy(Leftover):
    """The folder of a superseded study."""

    def remove(self) -> None:
        """Remove what robustkd wrote into it, study.json last, so that a rest is recognised again."""
        if self.kept:
            raise UsageError(f"{self.path}: {self.kept}")
        with hold_lock(self.path, f"{self.path}: a command is at work on it"):
            files, foreign = list_study_files(self.path)
            locks = [file for file in files if file.name == LOCK_FILE and file.parent != self.path]
            if foreign or (self.path / OUTBOX_FILE).exists() or any(map(is_held, locks)):
                raise UsageError(f"{self.path}: it has come into use")
            for file in files:
                if file != self.path / LOCK_FILE:
                    file.unlink(missing_ok=True)
        # No command begins on it now, since none leads to a superseded study.
        (self.path / LOCK_FILE).unlink(missing_ok=True)
        runs = [*list_folders(self.path / "runs"), self.path / "runs"]
        for folder in (*runs, self.path / "comparison", self.path):
            if folder.exists():
                folder.rmdir()


def find_old_studies(out: Path) -> Iterator[OldStudy]:
    """Yield the superseded studies in a folder. Nothing is changed."""
    for folder in list_folders(out):
        if reason := explain_superseded(folder):
            files, foreign = list_study_files(folder)
            yield OldStudy(folder, files, reason, explain_kept(folder, files, foreign))


def explain_superseded(folder: Path) -> str:
    """Return why no command continues a study; an empty string if one may, or if the folder is not a study's."""
    record = read_json(folder / STUDY_FILE)
    number = record.get("format", 1)
    if not record.keys() >= STUDY_KEYS or not isinstance(number, int) or number > FORMAT:
        return ""
    if SET_ASIDE.fullmatch(folder.suffix):
        return "--fresh replaced it"
    if number < FORMAT:
        return f"its files have format {number}, and this version reads format {FORMAT}"
    versions = [read_results_version(file) for file in folder.glob("runs/*/trained.json")]
    if versions and max(versions) < RESULTS_VERSION:
        return f"trained by version {max(versions)} of results, which is now {RESULTS_VERSION}"
    return explain_unknown_options(record)


def read_results_version(file: Path) -> int:
    """Return the RESULTS_VERSION that a network was trained with; the present one if its file does not say it."""
    match = re.match(r"(\d+)\.", str(read_json(file).get("version")))
    return int(match[1]) if match else RESULTS_VERSION


def explain_unknown_options(record: dict[str, Any]) -> str:
    """Return which options of an undamaged record that an older version wrote do not exist any more."""
    content = {name: value for name, value in record.items() if name != CHECKSUM}
    try:
        is_older = Version(record["resolved"]["robustkd"]) < Version(robustkd.__version__)
        unknown = sorted(record["options"].keys() - {field.name for field in fields(StudyOptions)})
    except (AttributeError, InvalidVersion, KeyError, TypeError):
        return ""
    is_whole = record.get(CHECKSUM) == json_digest(content)
    return f"this version has no option {', '.join(unknown)}" if unknown and is_older and is_whole else ""


def explain_kept(folder: Path, files: Iterable[Path], foreign: list[Path]) -> str:
    """Return why a superseded study is not removed; an empty string if it is."""
    if foreign:
        return f"it contains {foreign[0].relative_to(folder)}, which robustkd did not write"
    if (folder / OUTBOX_FILE).exists():
        return f"MLflow has not received all of it, which `robustkd sync {folder}` sends"
    return "a command is at work on it" if any(is_held(file) for file in files if file.name == LOCK_FILE) else ""


def list_study_files(folder: Path) -> tuple[tuple[Path, ...], list[Path]]:
    """Return the files of a study that robustkd wrote, study.json last, and everything else below its folder."""
    files: list[Path] = []
    foreign: list[Path] = []
    for place, subfolders, names in os.walk(folder):
        where = Path(place).relative_to(folder).parts
        inside = [Path(place, name) for name in subfolders]
        foreign += [path for path in inside if path.is_symlink() or not is_study_folder((*where, path.name))]
        for path in (Path(place, name) for name in names):
            (files if is_plain_file(path) and is_study_file(where, path.name) else foreign).append(path)
    # The documents that show that it is superseded go last.
    files.sort(key=lambda path: (path.name == STUDY_FILE, path.suffix == ".json", path))
    return tuple(files), sorted(foreign)


def is_study_folder(where: tuple[str, ...]) -> bool:
    """Return whether a folder, given by its path from a study's, is one that robustkd creates."""
    return where in (("runs",), ("comparison",)) or (where[0] == "runs" and len(where) == 2)


def is_study_file(where: tuple[str, ...], name: str) -> bool:
    """Return whether robustkd writes a file of this name into a folder of a study.

    >>> is_study_file(("runs", "hinton-seed0"), "model.pt"), is_study_file((), "model.pt")
    (True, False)
    """
    if temporary := TEMPORARY.fullmatch(name):
        name = temporary[1]
    name = name.removesuffix(DAMAGED)
    if not where:
        return name in STUDY_NAMES or IN_STUDY.fullmatch(name) is not None
    if where == ("comparison",):
        return IN_COMPARISON.fullmatch(name) is not None
    return where[0] == "runs" and len(where) == 2 and name in RUN_NAMES


def is_held(lock: Path) -> bool:
    """Return whether a process holds a lock."""
    try:
        with hold_lock(lock.parent, "it is held"):
            return False
    except UsageError:
        return True
