"""The section on reliability diagrams."""

import numpy as np

from pipelines.report.charts.reliability import plot_reliability
from pipelines.report.charts.style import BETTER_COLOUR, MUTED
from pipelines.report.examples import Examples
from pipelines.report.formatting import format_value
from pipelines.report.pooling import method_results, pool_bins
from pipelines.report.section import Picture, Section
from robustkd.study.comparison import Comparison

READING = (
    "Accuracy (bars and discs) by confidence; lines are the gap to the diagonal, the low bars at the bottom show where most"
    " predictions are. Before temperature scaling, all seeds together. The temperature is fitted on the held-out images, whose"
    " labels are as noisy as those shown in training."
)


def build_calibration_section(comparison: Comparison, examples: Examples) -> Section | None:
    """Build the section; None where no probabilities were finite."""
    pictures = [_picture_reliability(comparison, examples, name) for name in examples.pair]
    present = [picture for picture in pictures if picture is not None]
    return Section("calibration", "Confidence and accuracy", READING, present) if present else None


def _picture_reliability(comparison: Comparison, examples: Examples, method: str) -> Picture | None:
    bins = pool_bins([result.last.reliability for result in method_results(comparison, method)])
    if not bins:
        return None
    summary = comparison.summary
    before, after = (
        float(summary[f"{name}_mean"][method]) if f"{name}_mean" in summary else np.nan
        for name in ("ece", "ece_scaled")
    )
    error = f"ECE {format_value(before)} %"
    if after == after:
        error += f", {format_value(after)} % after temperature scaling"
    top = [each for each in bins if each.count][-1]
    alt = (
        f"Reliability of {method}: {error}; at a confidence of {format_value(top.confidence or 0.0)} % the accuracy is"
        f" {format_value(top.accuracy or 0.0)} %, over {top.count} predictions."
    )
    role = examples.roles[method]
    colour = MUTED if role == "baseline" else BETTER_COLOUR
    return Picture(f"reliability-{role}", method, plot_reliability(bins, colour), alt, f"{error}.")
