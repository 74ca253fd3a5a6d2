"""Distillation methods, and plain training to compare them with. The table of contents."""

from robustkd.registry import Entry, Registry

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
        "triplet": Entry("triplet:Triplet", "near the teacher's answer, far from other classes' (arXiv 2004.08116)"),
        "crd": Entry("crd:CRD", "each embedding found again among many by the teacher's (arXiv 1910.10699)"),
        "amkd": Entry("amkd:AMKD", "a triplet loss at the teacher's decision boundary (read from an abstract)"),
        "amkd_bss": Entry("amkd:AMKD", "amkd together with soft targets at the boundary", {"boundary": 1.0}),
        "tald": Entry("tald:TALD", "the teacher's loss on and around each image (WACV 2023)"),
        "tald_repo": Entry(
            "tald:TALD",
            "tald with the constants of the authors' code",
            {"norm": "l2", "radius": 5e-4, "probe": 2e4, "bandwidth": 7e-4, "steps": 1},
        ),
        "dml": Entry("dml:DML", "networks that teach one another, without a teacher (arXiv 1706.00384)"),
        "one": Entry("one:ONE", "branches of one network and a gate that weighs them (arXiv 1806.04606)"),
        "ffcl": Entry("ffcl:FFCL", "two networks and a classifier of their fused maps (read from an abstract)"),
        "kdcl": Entry("kdcl:KDCL", "networks that all learn from one target made of their answers (CVPR 2020)"),
        "self_kd": Entry("self_kd:SelfKD", "a student taught by one of its own shape (arXiv 1805.04770)"),
        "mean_teacher": Entry(
            "mean_teacher:MeanTeacher", "a student that agrees with its own average (arXiv 1703.01780)"
        ),
        "psd": Entry(
            "psd:PSD", "a student taught by its last epoch, more where that was right (read from an abstract)"
        ),
        "mtkd_ssr": Entry(
            "mtkd_ssr:MTKDSSR", "channels and answers of every stage, and self-review (read from an abstract)"
        ),
        "mjkd": Entry("mjkd:MJKD", "a momentum for each of three losses (read from an abstract)"),
        "mffkd": Entry("mffkd:MFFKD", "stages fused, attended to and contrasted (read from an abstract)"),
        "ccd": Entry("ccd:CCD", "augmented pairs, believed as far as the teacher agrees with itself (ACCV 2022)"),
        "smooth": Entry("smooth:Smooth", "plain training with smoothed labels or answers; what --smooth-teacher does"),
    },
)
