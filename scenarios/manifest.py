"""manifest: rows and labels from a manifest.

The file is a table written by robustkd.data.manifest, with its .json card next to it: a study's manifest-0.csv, or the output
of `audit --prune` or `audit --relabel`. The shown rows that the table lists for training or as held-out are kept, under its
labels and in its order; all others are dropped. So a study's manifest reproduces the study's rows and labels on the study's
split, and gives the common rows on another split. The manifest of an audit is valid for the split of the audit only: on
another split, its nets would have been trained on test rows.

A foreign image belongs to the part of the rows it is listed with. If a split divides these rows, its part is undefined and
the manifest is rejected. Foreign images from an earlier step of a chain are listed in no manifest and are dropped. The
scenario does not depend on the data seed.
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
    """The rows of a manifest, under its labels."""

    file: str

    def corruption_rates(self, view: View) -> NDArray[np.float64]:
        after = self.apply(view)
        before = labels_by_row(view)
        own = ~after.foreign
        # The sample that a foreign image replaces is unknown, so it counts under the label it has.
        labels = np.where(own, before[np.where(own, after.rows, 0)], after.labels)
        corrupted = np.bincount(labels[after.foreign | (labels != after.labels)], minlength=len(view.classes))
        return np.asarray(np.minimum(1, corrupted / np.maximum(view.counts, 1)))

    def apply(self, view: View) -> View:
        splits = manifest.load_manifest(Path(self.file), view.sources[0])
        card = manifest.read_card(manifest.manifest_paths(Path(self.file))[1])
        if "audit" in card and np.isin(view.rows[~view.foreign], splits.test.rows).any():
            raise UsageError(
                f"manifest: {self.file} comes from nets that were trained on test rows of this split; use the audit's"
                f" --split-seed {card['split_seed']}, or audit this split"
            )
        present = labels_by_row(view) >= 0
        parts = [self._select_present(part, present) for part in (splits.train, splits.held_out)]
        return concat(view, [part for part in parts if len(part)])

    def _select_present(self, part: View, present: NDArray[np.bool_]) -> View:
        """Return the rows of a part that are present: its own by row, its foreign ones only if all its own are present."""
        own = ~part.foreign
        kept = own & present[np.where(own, part.rows, 0)]
        if own.all() or (own.any() and not kept.any()):
            return part.take(kept)
        if not own.any():
            raise UsageError(
                f"manifest: {self.file} has a part with foreign images only, which cannot be assigned to a split"
            )
        if kept.sum() < own.sum():
            raise UsageError(
                f"manifest: {self.file} has foreign images that belong to rows of another split than this one; use the"
                " --split-seed and --held-out that it was made with"
            )
        return part


def labels_by_row(view: View) -> Labels:
    """Return the shown label of each row of the data set itself, -1 for rows not shown: (N,)."""
    labels = np.full(len(view.sources[0].labels), -1)
    own = ~view.foreign
    labels[view.rows[own]] = view.labels[own]
    return labels
