"""The section on confusion matrices: of the baseline, of the best method, and their difference."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.report.charts.matrices import plot_matrix
from pipelines.report.examples import Examples
from pipelines.report.pooling import describe_largest_errors, pool_confusion, row_shares
from pipelines.report.section import Picture, Section
from robustkd.study.comparison import Comparison

AXIS_LABELS = ("class", "predicted")


def build_confusion_section(comparison: Comparison, examples: Examples) -> Section | None:
    """Build the section; None where a run of either method is missing."""
    names = comparison.record.classes
    matrices = {name: pool_confusion(comparison, name) for name in examples.pair}
    shares = {name: row_shares(matrix) for name, matrix in matrices.items() if matrix is not None}
    if not shares or len(shares) < len(matrices):
        return None
    pictures = [_picture_confusion(method, examples.roles[method], share, names) for method, share in shares.items()]
    if examples.best and examples.reference:
        change = shares[examples.best] - shares[examples.reference]
        pictures.append(_picture_change(examples.best, examples.reference, change, names))
    lead = "Per cent of each class, counts summed over the seeds; the deeper the colour, the larger the share."
    return Section("confusion", "Which classes are confused", lead, pictures)


def _picture_confusion(method: str, role: str, share: NDArray[np.float64], names: Sequence[str]) -> Picture:
    errors = describe_largest_errors(share, names)
    alt = f"Confusion matrix of {method}, per cent of each class over all seeds. Most frequent errors: {errors}."
    caption = f"Most frequent: {errors}." if errors != "none" else "No errors."
    return Picture(f"confusion-{role}", method, plot_matrix(share, names, names, AXIS_LABELS), alt, caption)


def _picture_change(best: str, reference: str, change: NDArray[np.float64], names: Sequence[str]) -> Picture:
    limit = float(np.nanmax(np.abs(change), initial=0.01))
    errors = describe_largest_errors(change, names, signed=True)
    alt = f"Confusion of {best} minus that of {reference}, points. Largest changes of errors: {errors}."
    caption = f"Points; blue: more often, vermilion: less often. Errors that change most: {errors}."
    figure = plot_matrix(change, names, names, AXIS_LABELS, limit)
    return Picture("confusion-change", f"{best} − {reference}", figure, alt, caption)
