"""Data frames as CSV files, and the check that no file of the user's is overwritten."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from robustkd.csv_cells import write_csv
from robustkd.errors import UsageError


def write_csv_files(frames: Mapping[str, pd.DataFrame], folder: Path) -> list[Path]:
    """Write NAME.csv for each frame, with full precision; a named index is the first column."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, frame in frames.items():
        paths.append(folder / f"{name}.csv")
        write_csv(frame, paths[-1], index=frame.index.name is not None)
    return paths


def refuse_existing(option: str, *paths: Path) -> None:
    """Refuse paths that exist already or whose folder does not.

    Raises:
        UsageError: naming the option that asked for the path.
    """
    for path in paths:
        if path.exists():
            raise UsageError(f"{option} {path}: this file exists already and is not overwritten; choose another name")
        if not path.parent.is_dir() and not option.endswith("csv"):
            raise UsageError(f"{option} {path}: there is no folder {path.parent}")
