"""matrix: label noise by any transition matrix.

T[i, j] = P(shown as j | class i), each row sums to 1: K lines of K numbers in a CSV file, in the order of the classes; or
with the class names above and before them, in any order.

A matrix estimated from human labels makes a control whose classes are confused as people confuse them, whatever the image.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robustkd.data import csv_reader
from robustkd.data.view import View
from robustkd.errors import UsageError, unknown_name
from scenarios.base import Draws, MatrixNoise

ROW_SUM_TOLERANCE = 1e-6  # what a row's sum may differ from 1


@dataclass(frozen=True)
class Matrix(MatrixNoise):
    """Each class is shown as the others in the shares that a file gives."""

    file: str
    draws: Draws = "exact"

    def transition_matrix(self, view: View) -> NDArray[np.float64]:
        """T: (K, K).

        Raises:
            UsageError: the file cannot be read as K x K shares, or a row does not sum to 1.
        """
        matrix = read_class_matrix("matrix", self.file, view.classes)
        sums = matrix.sum(axis=1)
        off = np.flatnonzero(np.abs(sums - 1) > ROW_SUM_TOLERANCE)
        if len(off):
            name, total = view.classes[off[0]], sums[off[0]]
            raise UsageError(f"matrix: {self.file}: row '{name}' sums to {total:.7g}, but should to 1")
        shares: NDArray[np.float64] = matrix / sums[:, None]
        return shares


def read_class_matrix(word: str, file: str, classes: tuple[str, ...]) -> NDArray[np.float64]:
    """Numbers from 0 up for each class by each class, from a CSV file: (K, K), in the order of the classes.

    Args:
        word: the scenario that asks.
        file: K lines of K numbers; or K + 1 of K + 1, the first and the first column being class names.
        classes: the K class names.

    Raises:
        UsageError: the file is missing, is not K x K, or holds other names or anything but numbers from 0 up.
    """
    rows, word = csv_reader.read(word, Path(file).expanduser()).rows, f"{word}: {file}"
    size, width = len(classes), len(rows[0])
    named = len(rows) == width == size + 1
    if not named and not len(rows) == width == size:
        raise UsageError(f"{word} has {len(rows)} lines of {width} values, but {size} classes want {size} of {size}")
    if not named:
        return _parse_numbers(word, rows, classes, classes)
    across, down = rows[0][1:], [row[0] for row in rows[1:]]
    for names, where in ((across, "columns"), (down, "rows")):
        _check_class_names(word, names, where, classes)
    numbers = _parse_numbers(word, [row[1:] for row in rows[1:]], down, across)
    return numbers[np.ix_([down.index(name) for name in classes], [across.index(name) for name in classes])]


def _check_class_names(word: str, names: list[str], where: str, classes: tuple[str, ...]) -> None:
    strange = next((name for name in names if name not in classes), None)
    if strange is not None:
        raise UsageError(f"{word}, {where}: {unknown_name('class', strange, classes)}")
    absent = next((name for name in classes if name not in names), None)
    if absent is not None:
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"{word} names '{twice}' twice among its {where}, and '{absent}' not at all")


def _parse_numbers(
    word: str, rows: list[list[str]], down: list[str] | tuple[str, ...], across: list[str] | tuple[str, ...]
) -> NDArray[np.float64]:
    try:
        numbers = np.array([list(map(float, row)) for row in rows])
    except ValueError:
        numbers = np.array([[_float_or_nan(cell) for cell in row] for row in rows])
    for i, j in np.argwhere(~(np.isfinite(numbers) & (numbers >= 0)))[:1]:
        raise UsageError(f"{word}: '{down[i]}' to '{across[j]}' is '{rows[i][j]}', but a number from 0 up is wanted")
    return numbers


def _float_or_nan(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return np.nan
