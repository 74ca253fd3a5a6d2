"""The section on training images under a wrong label to which the best method gives the true one."""

from pipelines.report.examples import Examples
from pipelines.report.recovered_images import load_recovered_images
from pipelines.report.section import Section
from robustkd.study.comparison import Comparison

TITLE = "Recovered labels"


def build_recovered_section(comparison: Comparison, examples: Examples) -> Section | None:
    """Build the section; None where no labels are known to be wrong."""
    if examples.best is None or "recovered_mean" not in comparison.summary:
        return None
    try:
        recovered = load_recovered_images(comparison, examples.best, examples.reference)
    except Exception as error:  # a report must not fail because of its images, whatever happened to the data
        message = " ".join(str(error).split()) or type(error).__name__
        return Section("recovered", TITLE, notes=[f"Images are left out: {message[:300]}"])
    lead = (
        f"Training images under a wrong label to which {examples.best} (seed {recovered.seed}) gives the true one:"
        f" {recovered.total} in all."
    )
    if examples.reference:
        lead += f" First the {recovered.memorised} for which {examples.reference} gives the wrong one, then by row."
    if recovered.total > len(recovered.images):
        lead += f" {len(recovered.images)} are shown."
    return Section("recovered", TITLE, lead, images=recovered.images)
