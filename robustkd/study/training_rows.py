"""The rows and labels that a method is trained on: as given, or, for controls, by what is known of the true labels."""

import numpy as np

from robustkd.data.view import View
from robustkd.errors import UsageError
from robustkd.types import TrainingLabels


def select_training_rows(view: View, labels: TrainingLabels, method: str) -> View:
    """Return the part of a training view that a method is trained on.

    Args:
        labels: `given`, the view itself; `true`, every row of the data set's own images with its true label; `untouched`, the
            rows whose label is the true one.
        method: as typed, for error messages.

    Raises:
        UsageError: the true label of some row is not known, or a class is left without rows.
    """
    if labels == "given":
        return view
    truth = view.truth
    unknown = len(view) if truth is None else int(((truth < 0) & ~view.foreign).sum())
    if truth is None or unknown:
        raise UsageError(
            f"method '{method}' trains by the true labels, and those of {unknown} of {len(view)} training rows are not"
            " known: it is a control for scenarios on data with known labels (or with a column clean_label)"
        )
    own = truth >= 0
    selected = (
        view.relabel(np.where(own, truth, view.labels)).take(own)
        if labels == "true"
        else view.take(own & ~view.corrupted)
    )
    for number in np.flatnonzero((selected.counts == 0) & (view.counts > 0)):
        raise UsageError(
            f"method '{method}' would be left without a training row of class '{view.classes[number]}': no row with this"
            " label has it as its true label"
        )
    return selected
