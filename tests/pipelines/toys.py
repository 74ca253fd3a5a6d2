"""A data set that trains in a second, three classes of 8x8 stripes, and the arguments of a small study of it."""

from pathlib import Path

import numpy as np

from robustkd.study.options import StudyOptions

OPTIONS = {
    "scenario": "noise0.2",
    "methods": "baseline,hinton",
    "student": "resnet8",
    "teacher": "resnet8",
    "seeds": "1",
    "epochs": "2",
    "batch": "16",
    "jobs": "1",
    "threads": "1",
    "tracker": "files",
}


def stripes(path: Path, per_class: int = 24, classes: int = 3) -> Path:
    """Write an npz of noisy stripes, a different pattern for each class."""
    random = np.random.default_rng(0)
    labels = np.arange(per_class * classes) % classes
    grid = np.indices((8, 8))
    patterns = [grid[0] % 2, grid[1] % 2, (grid[0] + grid[1]) % 2][:classes]
    images = np.stack([200 * patterns[label] + random.integers(0, 56, (8, 8)) for label in labels]).astype(np.uint8)
    np.savez(path, X=images, y=labels, classes=np.array(["rows", "columns", "checks"][:classes]))
    return path


def study_arguments(command: str, data: Path, **changes: str) -> list[str]:
    """Return the arguments of a command with `OPTIONS`, updated by `changes`."""
    options = {**OPTIONS, "dataset": f"npz:{data}", **changes}
    return [command, *(word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value))]


def parse_options(arguments: list[str]) -> StudyOptions:
    """Return the options in the arguments of a command."""
    pairs = zip(arguments[1::2], arguments[2::2], strict=True)
    return StudyOptions(**{name.removeprefix("--").replace("-", "_"): value for name, value in pairs})


def find_study(out: str = "studies") -> Path:
    """Return the folder of the only study in the working directory."""
    (card,) = Path(out).glob("*/study.json")
    return card.parent
