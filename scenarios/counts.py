"""counts: class sizes that a file names.

The file is a CSV with the columns class and count: each class of the data set once, by its name, with how many of its
training samples stay. The held-out rows are thinned to the same proportions, as far as there are any.
order = reversed or seeded deals the file's numbers to the classes the other way round, or as the seed says.
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
from scenarios.base import Order, Subsampling, order_classes

COUNT_COLUMNS = ("class", "count")
ClassSize = Annotated[int, Interval(ge=1, le=10**12)]


@dataclass(frozen=True)
class Counts(Subsampling):
    """Thins each class to a number of its own."""

    file: str
    order: Order = "id"

    def class_sizes(self, view: View) -> Labels:
        told, there = read_class_counts(self.file, view.classes), view.counts
        asked = np.empty(len(told))
        asked[order_classes(self.order, len(told), view.draw("order"))] = told
        if view.training:  # held-out rows have what they have
            for number in np.flatnonzero(asked > there):
                raise UsageError(
                    f"counts: {self.file} asks for {asked[number]:.0f} samples of class '{view.classes[number]}',"
                    f" which has {there[number]}"
                )
        return np.minimum(np.rint(np.round(asked * view.scale, 6)), there).astype(np.int64)


def read_class_counts(file: str, classes: tuple[str, ...]) -> list[float]:
    """The number that the file gives each class, in the order of the classes.

    Raises:
        UsageError: the file is missing, is no such table, or does not name each class once with a number from 1.
    """
    path = Path(file).expanduser()
    (header, *rows), numbers = csv_reader.read("counts", path)
    for name in COUNT_COLUMNS:
        if header.count(name) != 1:
            fault = f"two columns called {name}" if name in header else f"no column {name}"
            raise UsageError(f"counts: {path} has {fault}; it has: {', '.join(header)}")
    at_class, at_count = map(header.index, COUNT_COLUMNS)
    counts: dict[str, float] = {}
    for row, line in zip(rows, numbers[1:], strict=True):
        name, count = row[at_class], row[at_count]
        if name not in classes:
            raise UsageError(f"counts: {path}, line {line}: {unknown_name('class', name, classes)}")
        if name in counts:
            raise UsageError(f"counts: {path} names class '{name}' twice, but each should stand there once")
        counts[name] = float(validate(f"counts: {path}: the count of class '{name}'", ClassSize, count))
    left = [name for name in classes if name not in counts]
    if left:
        raise UsageError(f"counts: {path} does not name class '{left[0]}', but each should stand there once")
    return [counts[name] for name in classes]
