"""Read a user's own out-of-fold probabilities, instead of training networks for them."""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from robustkd.data.paths import describe_missing_path
from robustkd.errors import UsageError
from robustkd.label_audit.confident_learning import RowMask
from robustkd.label_audit.out_of_fold import ClassProbabilities

SUM_TOLERANCE = 0.01  # of the sum of a row; half precision and printed decimals are off by less


def load_probabilities(file: str, rows: int, classes: int) -> ClassProbabilities:
    """Load class probabilities; rows are scaled to sum to exactly 1.

    Args:
        file: an .npy file, or an .npz file with one array: (N, K), a row per image in the data set's order, a column per class
            in the order of its classes. A row of NaN is an image without a prediction.
        rows: N.
        classes: K.

    Raises:
        UsageError: the file cannot be read, or its content is not such an array.
    """
    name, array = f"--probabilities {file}", _read_array(file)
    if array.shape != (rows, classes) or array.dtype.kind != "f":
        raise UsageError(
            f"{name}: should be floating-point numbers of shape ({rows}, {classes}), a row per image and a column per class,"
            f" but is {array.dtype} of shape {array.shape}"
        )
    probabilities: ClassProbabilities = array.astype(np.float32)
    missing: RowMask = np.isnan(probabilities).sum(axis=1) == classes
    if missing.all():
        raise UsageError(f"{name}: no row has probabilities, all are NaN")
    present = np.where(missing[:, None], np.float32(1 / classes), probabilities)
    total = present.sum(axis=1)
    wrong = ~((present >= 0) & (present <= 1 + SUM_TOLERANCE)).all(axis=1) | ~(abs(total - 1) <= SUM_TOLERANCE)
    if wrong.any():
        row = int(wrong.argmax())
        raise UsageError(
            f"{name}: row {row} is not a distribution: its values range from {present[row].min():g} to {present[row].max():g}"
            f" and sum to {total[row]:g}, but should be from 0 to 1 and sum to 1"
        )
    probabilities /= total[:, None]
    return probabilities


def _read_array(file: str) -> NDArray[np.generic]:
    """Return the array of an .npy file, or the only one of an .npz file."""
    path = Path(file).expanduser()
    if not path.is_file():
        raise UsageError(describe_missing_path("--probabilities", path))
    try:
        with path.open("rb") as opened:
            content = np.load(opened, allow_pickle=False)
            if not isinstance(content, np.lib.npyio.NpzFile):
                return np.asarray(content)
            if len(content.files) == 1:
                return np.asarray(content[content.files[0]])
            names = ", ".join(content.files)
    except (OSError, ValueError, EOFError, BadZipFile):
        raise UsageError(f"--probabilities {file}: it cannot be read as an .npy file") from None
    raise UsageError(f"--probabilities {file}: should contain one array, but contains: {names}")
