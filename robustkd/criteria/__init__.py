"""Criteria: how labels are believed. The table of contents."""

from robustkd.registry import Entry, Registry

CRITERIA = Registry(
    "criterion",
    "robustkd.criteria",
    "robustkd.criteria",
    {
        "ce": Entry("ce:CE", "cross entropy: every label is believed"),
        "balanced": Entry(
            "balanced:Balanced", "balanced softmax: class sizes taken out of the logits (arXiv 2007.10740)"
        ),
    },
)
