"""Class-by-class tables in CSV files, such as transition matrices: of K lines of K numbers in the order of the classes, or the
same with class names as header row and first column, in any order.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robustkd.data import csv_reader
from robustkd.errors import UsageError, unknown_name

ROW_SUM_TOLERANCE = 1e-6  # largest allowed deviation of a row's sum from 1


def read_transition_matrix(context: str, file: str, classes: tuple[str, ...]) -> NDArray[np.float64]:
    """Read T[i, j] = P(shown as j | class i): (K, K), in the order of the classes.

    Args:
        context: What error messages start with.
        file: A class-by-class table, see `read_class_matrix`.
        classes: The K class names.

    Raises:
        UsageError: The file is not a K x K table of probabilities, or a row does not sum to 1.
    """
    matrix = read_class_matrix(context, file, classes)
    sums = matrix.sum(axis=1)
    for row in np.flatnonzero(np.abs(sums - 1) > ROW_SUM_TOLERANCE)[:1]:
        raise UsageError(f"{context}: {file}: row '{classes[row]}' sums to {sums[row]:.7g}, but should sum to 1")
    normalised: NDArray[np.float64] = matrix / sums[:, None]
    return normalised


def read_class_matrix(context: str, file: str, classes: tuple[str, ...]) -> NDArray[np.float64]:
    """Read a class-by-class table of non-negative numbers from a CSV file: (K, K), in the order of the classes.

    Args:
        context: What error messages start with.
        file: A CSV of K lines of K values, or of K + 1 lines of K + 1 values with class names in the first row and column.
        classes: The K class names.

    Raises:
        UsageError: The file is missing, is not K x K, or contains unknown names, negative numbers or non-numbers.
    """
    rows, context = csv_reader.read_csv_rows(context, Path(file).expanduser()).rows, f"{context}: {file}"
    size, width = len(classes), len(rows[0])
    named = len(rows) == width == size + 1
    if not named and not len(rows) == width == size:
        raise UsageError(f"{context} has {len(rows)} lines of {width} values, but {size} classes need {size} of {size}")
    if not named:
        return _parse_numbers(context, rows, classes, classes)
    across, down = rows[0][1:], [row[0] for row in rows[1:]]
    for names, axis in ((across, "columns"), (down, "rows")):
        _check_class_names(context, names, axis, classes)
    numbers = _parse_numbers(context, [row[1:] for row in rows[1:]], down, across)
    return numbers[np.ix_([down.index(name) for name in classes], [across.index(name) for name in classes])]


def _check_class_names(context: str, names: list[str], axis: str, classes: tuple[str, ...]) -> None:
    """Check that each class is named once.

    Raises:
        UsageError: A name is unknown, repeated or missing.
    """
    unknown = next((name for name in names if name not in classes), None)
    if unknown is not None:
        raise UsageError(f"{context}, {axis}: {unknown_name('class', unknown, classes)}")
    missing = next((name for name in classes if name not in names), None)
    if missing is not None:
        repeated = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"{context}, {axis}: class '{repeated}' is named twice and class '{missing}' is missing")


def _parse_numbers(
    context: str, rows: list[list[str]], down: list[str] | tuple[str, ...], across: list[str] | tuple[str, ...]
) -> NDArray[np.float64]:
    """Convert cells to non-negative numbers; the names of rows and columns are for error messages.

    Raises:
        UsageError: A cell is not a finite number from 0 up.
    """
    try:
        numbers = np.array([list(map(float, row)) for row in rows])
    except ValueError:
        numbers = np.array([[_float_or_nan(cell) for cell in row] for row in rows])
    for i, j in np.argwhere(~(np.isfinite(numbers) & (numbers >= 0)))[:1]:
        raise UsageError(f"{context}: '{down[i]}' to '{across[j]}' is '{rows[i][j]}', but should be a number from 0 up")
    return numbers


def _float_or_nan(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return np.nan
