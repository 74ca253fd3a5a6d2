"""Recognise folders that programs wrote next to the images: robustkd's own results, MLflow's, caches, Python environments.

They are recognised by what they contain, since their names can be chosen. Their images are not data.
"""

import re
from collections.abc import Sequence
from pathlib import Path

RESULT_FILES = {"study.json", "audit.json", "sweep.json", "card.json"}  # each names the version of robustkd
DEFAULT_NAMES = {"studies", "audits", "mlruns", "mlartifacts"}  # where the results are written by default

_FOLD_FILES = re.compile(r"fold-\d+\.npz")  # of an audit that was interrupted
_CACHE_FILES = re.compile(r"[0-9a-f]{16,64}\.(npy|json)")
_RUN_FOLDER = re.compile(r"[0-9a-f]{32}")


def is_tracking_store(name: str) -> bool:
    """Return whether a file is MLflow's default store or one of its companions."""
    return name == "mlflow.db" or name.startswith("mlflow.db-")


def describe_program_output(folder: Path, subfolders: Sequence[str], files: Sequence[str]) -> str:
    """Return which program wrote a folder, or an empty string if it may hold a user's images.

    Args:
        subfolders: the names of its folders.
        files: the names of its files.
    """
    if any(_names_robustkd(folder / name) for name in RESULT_FILES.intersection(files)):
        return "robustkd"
    if files and not subfolders:
        if all(map(_FOLD_FILES.fullmatch, files)):
            return "robustkd"
        if all(map(_CACHE_FILES.fullmatch, files)):
            return "robustkd"
    if _is_mlflow_experiment(folder, subfolders, files):
        return "MLflow"
    return "Python" if "pyvenv.cfg" in files else ""


def _names_robustkd(file: Path) -> bool:
    try:
        return b'"robustkd"' in file.read_bytes()
    except OSError:
        return False


def _is_mlflow_experiment(folder: Path, subfolders: Sequence[str], files: Sequence[str]) -> bool:
    """Return whether a folder is that of an experiment, such as mlruns/1."""
    if "meta.yaml" in files and "artifact_location" in _read_text(folder / "meta.yaml"):
        return True
    runs = [name for name in subfolders if _RUN_FOLDER.fullmatch(name)]
    return any((folder / name / "artifacts").is_dir() for name in runs)


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
