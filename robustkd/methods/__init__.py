"""Distillation methods, and plain training to compare them with. The table of contents."""

from robustkd.words import Entry, Registry

METHODS = Registry(
    "method",
    "robustkd.methods",
    "robustkd.methods",
    {
        "baseline": Entry("baseline:Baseline", "plain training: the student alone"),
        "hinton": Entry("hinton:Hinton", "soft targets at a temperature (arXiv 1503.02531)"),
        "dkd": Entry("dkd:DKD", "soft targets in two parts, the label and the others (arXiv 2203.08679)"),
        "bss": Entry("bss:BSS", "soft targets at the teacher's decision boundary (arXiv 1805.05532)"),
        "fitnet": Entry("fitnet:FitNet", "a hint for the lower half first, then soft targets (arXiv 1412.6550)"),
        "fsp": Entry("fsp:FSP", "how maps follow from one another first, then soft targets (CVPR 2017)"),
        "at": Entry("at:AT", "where the maps are active (arXiv 1612.03928)"),
        "sp": Entry("sp:SP", "how alike the samples of a batch are (arXiv 1907.09682)"),
        "rkd_d": Entry("rkd:RKD", "distances between embeddings (arXiv 1904.05068)", {"angle": 0.0}),
        "rkd_a": Entry("rkd:RKD", "angles between embeddings (arXiv 1904.05068)", {"distance": 0.0}),
        "rkd_da": Entry("rkd:RKD", "distances and angles between embeddings (arXiv 1904.05068)"),
        "dml": Entry("dml:DML", "networks that teach one another, without a teacher (arXiv 1706.00384)"),
    },
)
