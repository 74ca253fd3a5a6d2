"""Registry of criteria: the supervised losses."""

from robustkd.registry import Entry, Registry

CRITERIA = Registry(
    "criterion",
    "robustkd.criteria",
    "robustkd.criteria",
    {
        "ce": Entry("ce:CE", "cross entropy"),
        "balanced": Entry(
            "balanced:Balanced",
            "balanced softmax: cross entropy with logits adjusted for class sizes (arXiv 2007.10740)",
        ),
    },
)
