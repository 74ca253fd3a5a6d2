"""Distillation methods, and plain training to compare them with. The table of contents."""

from robustkd.words import Entry, Registry

METHODS = Registry(
    "method",
    "robustkd.methods",
    "robustkd.methods",
    {
        "baseline": Entry("baseline:Baseline", "plain training: the student alone"),
        "hinton": Entry("hinton:Hinton", "soft targets at a temperature (arXiv 1503.02531)"),
        "fitnet": Entry("fitnet:FitNet", "a hint for the lower half first, then soft targets (arXiv 1412.6550)"),
        "dml": Entry("dml:DML", "networks that teach one another, without a teacher (arXiv 1706.00384)"),
    },
)
