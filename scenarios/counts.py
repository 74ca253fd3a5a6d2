"""counts: class sizes from a file.

The file is a CSV with the columns class and count. It lists each class of the data set once, by name, with the number of
training samples to keep. Held-out rows are subsampled to the same proportions as far as possible.
order = reversed or seeded assigns the file's counts to the classes in reverse, or in an order drawn by the seed; order = size
assigns larger counts to larger classes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Interval

from robustkd.data import csv_reader
from robustkd.data.view import Labels, View
from robustkd.errors import UsageError, unknown_name
from robustkd.types import validate
from scenarios.sizes import Order, Subsampling, assign_sizes

COUNT_COLUMNS = ("class", "count")
ClassSize = Annotated[int, Interval(ge=1, le=10**12)]


@dataclass(frozen=True)
class Counts(Subsampling):
    """Subsampling of each class to a count from a file."""

    family = "imbalance"
    file: str
    order: Order = "id"

    def class_sizes(self, view: View) -> Labels:
        counts, available = read_class_counts(self.file, view.classes), view.counts
        requested = assign_sizes(self.order, np.array(counts), view)
        if view.training:  # held-out rows may have fewer
            for number in np.flatnonzero(requested > available):
                raise UsageError(
                    f"counts: {self.file} requests {requested[number]:.0f} samples of class '{view.classes[number]}',"
                    f" which has {available[number]}"
                )
        return np.minimum(np.rint(np.round(requested * view.scale, 6)), available).astype(np.int64)


def read_class_counts(file: str, classes: tuple[str, ...]) -> list[float]:
    """Read the count of each class, in the order of the classes.

    Raises:
        UsageError: The file is missing, is not such a table, or does not list each class once with a count from 1 up.
    """
    path = Path(file).expanduser()
    (header, *rows), numbers = csv_reader.read_csv_rows("counts", path)
    for name in COUNT_COLUMNS:
        if header.count(name) != 1:
            problem = f"two columns called {name}" if name in header else f"no column {name}"
            raise UsageError(f"counts: {path} has {problem}; it has: {', '.join(header)}")
    class_index, count_index = map(header.index, COUNT_COLUMNS)
    counts: dict[str, float] = {}
    for row, line in zip(rows, numbers[1:], strict=True):
        name, count = row[class_index], row[count_index]
        if name not in classes:
            raise UsageError(f"counts: {path}, line {line}: {unknown_name('class', name, classes)}")
        if name in counts:
            raise UsageError(f"counts: {path} lists class '{name}' twice, but should list each class once")
        counts[name] = float(validate(f"counts: {path}: the count of class '{name}'", ClassSize, count))
    missing = [name for name in classes if name not in counts]
    if missing:
        raise UsageError(f"counts: {path} does not list class '{missing[0]}', but should list each class once")
    return [counts[name] for name in classes]
