"""The section on the transition matrix that the scenario resulted in."""

import numpy as np

from pipelines.report.charts.matrices import plot_matrix
from pipelines.report.formatting import format_value
from pipelines.report.pooling import describe_largest_errors, row_shares
from pipelines.report.section import Picture, Section
from pipelines.report.study_files import StudyFiles
from robustkd.study.comparison import Comparison


def build_scenario_section(comparison: Comparison, files: StudyFiles) -> Section:
    """Build the section."""
    names = comparison.record.classes
    if files.transitions is None:
        reason = files.missing or "the truth of the training labels is not known"
        return Section("scenario", "The scenario", notes=[f"The transition matrix is left out: {reason}."])
    lead = f"{comparison.record.options.scenario}, as the training images were shown."
    shares = row_shares(files.transitions)
    wrong = 1 - np.trace(files.transitions) / max(1, files.transitions.sum())
    if not wrong:
        return Section("scenario", "The scenario", lead, notes=["Every training image is shown under its true label."])
    caption = f"{format_value(wrong)} % of the training images are shown under a wrong label, over all draws."
    errors = describe_largest_errors(shares, names)
    alt = f"Transition matrix, per cent of each true class: {caption} Most frequent: {errors}."
    figure = plot_matrix(shares, names, names, ("true class", "label shown"))
    picture = Picture("transitions", "From truth to label", figure, alt, caption)
    return Section("scenario", "The scenario", lead, [picture])
