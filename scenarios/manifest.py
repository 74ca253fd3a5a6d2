"""manifest: rows and labels as somebody wrote them down.

The file is a table that robustkd.data.manifest wrote, with its card beside it: a study's manifest-0.csv, what
`audit --prune` or `--relabel` made, or what a colleague sent. Of the rows shown, those stay that the table names for
training or for the held-out part, under its labels and in its order; all others go. So a manifest of a study shows the
study's own split exactly what the study was shown, and another split those rows that both have. An audit's is for the
audit's split alone: elsewhere its nets would have learnt from what is then tested on.

A foreign image belongs where the other rows of its part are: where a split tears these apart it has no place, and the
manifest is refused. Foreign images that an earlier step of a chain brought in are named by no manifest and go. Nothing is
drawn: every data seed is shown the same.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robustkd.data import manifest
from robustkd.data.view import Labels, View, concat
from robustkd.errors import UsageError
from scenarios.base import Scenario


@dataclass(frozen=True)
class Manifest(Scenario):
    """The rows that a manifest names, under its labels."""

    file: str

    def corruption_rates(self, view: View) -> NDArray[np.float64]:
        after = self.apply(view)
        before = labels_by_row(view)
        own = ~after.foreign
        # Whom a foreign image stands for is not told: it counts under the label it has.
        was = np.where(own, before[np.where(own, after.rows, 0)], after.labels)
        corrupted = np.bincount(was[after.foreign | (was != after.labels)], minlength=len(view.classes))
        return np.asarray(np.minimum(1, corrupted / np.maximum(view.counts, 1)))

    def apply(self, view: View) -> View:
        named = manifest.load(Path(self.file), view.sources[0])
        card = manifest.read_card(manifest.files(Path(self.file))[1])
        if "audit" in card and np.isin(view.rows[~view.foreign], named.test.rows).any():
            raise UsageError(
                f"manifest: {self.file} was made by nets that were trained on rows which this split tests on: give"
                f" --split-seed {card['split_seed']} as the audit had it, or audit this split"
            )
        here = labels_by_row(view) >= 0
        parts = [self._select_present(part, here) for part in (named.train, named.held_out)]
        return concat(view, [part for part in parts if len(part)])

    def _select_present(self, part: View, here: NDArray[np.bool_]) -> View:
        """Those of a part's rows that are here: its own by row, its foreign ones where all of its own are."""
        own = ~part.foreign
        found = own & here[np.where(own, part.rows, 0)]
        if own.all() or (own.any() and not found.any()):
            return part.take(found)
        if not own.any():
            raise UsageError(
                f"manifest: {self.file} shows nothing but foreign images in a split: nothing says where they belong"
            )
        if found.sum() < own.sum():
            raise UsageError(
                f"manifest: {self.file} shows foreign images, whose place is among rows of another split than this one:"
                " give --split-seed and --held-out as they were when it was made"
            )
        return part


def labels_by_row(view: View) -> Labels:
    """The label that each row of the data set itself is shown under, -1 where it is not shown: (N,)."""
    labels = np.full(len(view.sources[0].labels), -1)
    own = ~view.foreign
    labels[view.rows[own]] = view.labels[own]
    return labels
