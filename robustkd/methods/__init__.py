"""Registry of distillation methods, and of plain training as the baseline."""

from robustkd.registry import Entry, Registry

METHODS = Registry(
    "method",
    "robustkd.methods",
    "robustkd.methods",
    {
        "baseline": Entry("baseline:Baseline", "plain training of the student, without a teacher"),
        "hinton": Entry("hinton:Hinton", "soft targets at a temperature (arXiv 1503.02531)"),
        "dkd": Entry("dkd:DKD", "soft targets split into the label and the other classes (arXiv 2203.08679)"),
        "dkd_resnet": Entry("dkd:DKD", "dkd with the authors' weight for resnet56 and resnet20", {"beta": 2.0}),
        "dkd_imagenet": Entry(
            "dkd:DKD",
            "dkd with the authors' constants for ResNet-34 and ResNet-18 on ImageNet",
            {"beta": 0.5, "temperature": 1.0, "warmup": 0.01},
        ),
        "bss": Entry("bss:BSS", "soft targets at the teacher's decision boundary (arXiv 1805.05532)"),
        "fitnet": Entry("fitnet:FitNet", "hint training of the lower stages, then soft targets (arXiv 1412.6550)"),
        "fsp": Entry("fsp:FSP", "FSP matrices between feature maps, then soft targets (CVPR 2017)"),
        "at": Entry("at:AT", "attention maps (arXiv 1612.03928)"),
        "sp": Entry("sp:SP", "similarity matrix of the samples of a batch (arXiv 1907.09682)"),
        "rkd_d": Entry("rkd:RKD", "distances between embeddings (arXiv 1904.05068)", {"angle": 0.0}),
        "rkd_a": Entry("rkd:RKD", "angles between embeddings (arXiv 1904.05068)", {"distance": 0.0}),
        "rkd_da": Entry("rkd:RKD", "distances and angles between embeddings (arXiv 1904.05068)"),
        "triplet": Entry("triplet:Triplet", "triplet loss on logits, the teacher's as the anchor (arXiv 2004.08116)"),
        "crd": Entry("crd:CRD", "contrastive loss between student and teacher embeddings (arXiv 1910.10699)"),
        "amkd": Entry(
            "amkd:AMKD", "soft targets and a triplet loss at the teacher's decision boundary (based on the abstract)"
        ),
        "amkd_annealed": Entry(
            "amkd:AMKD",
            "a triplet loss on every perturbed image, with a weight that falls to zero",
            {"boundary": 0.0, "margin": 5.0, "step": 0.3, "reject": "none", "annealed": True},
        ),
        "amkd_bss": Entry(
            "amkd:AMKD",
            "amkd_annealed with additional soft targets at the boundary",
            {"boundary": 1.0, "margin": 5.0, "reject": "none", "annealed": True},
        ),
        "tald": Entry("tald:TALD", "matches the teacher's loss on and around each image (WACV 2023)"),
        "tald_repo": Entry(
            "tald:TALD",
            "tald with the constants of the authors' code",
            {"norm": "l2", "radius": 5e-4, "probe": 2e4, "bandwidth": 7e-4, "steps": 1},
        ),
        "dml": Entry("dml:DML", "mutual learning of several students, without a teacher (arXiv 1706.00384)"),
        "one": Entry("one:ONE", "branches of one network taught by their gated ensemble (arXiv 1806.04606)"),
        "ffcl": Entry("ffcl:FFCL", "two networks and a classifier of their fused maps (based on the abstract)"),
        "kdcl": Entry("kdcl:KDCL", "several students with one target computed from all their logits (CVPR 2020)"),
        "self_kd": Entry(
            "self_kd:SelfKD", "born-again networks: a teacher of the student's architecture (arXiv 1805.04770)"
        ),
        "mean_teacher": Entry(
            "mean_teacher:MeanTeacher", "consistency with an average of the student's weights (arXiv 1703.01780)"
        ),
        "psd": Entry(
            "psd:PSD", "soft targets from the student's previous epoch, weighted by correctness (based on the abstract)"
        ),
        "mtkd_ssr": Entry(
            "mtkd_ssr:MTKDSSR", "channels and logits of every stage, and self-review (based on the abstract)"
        ),
        "mjkd": Entry("mjkd:MJKD", "a separate momentum for each of three losses (based on the abstract)"),
        "mffkd": Entry("mffkd:MFFKD", "contrastive loss on fused stages with attention (based on the abstract)"),
        "ccd": Entry("ccd:CCD", "augmented pairs, weighted by the teacher's agreement on both (ACCV 2022)"),
        "longer": Entry("baseline:Longer", "plain training for as long as teacher and student take together"),
        "ensemble": Entry("ensemble:Ensemble", "two networks trained at the cost of teacher and student together"),
        "matched_smoothing": Entry(
            "matched_smoothing:MatchedSmoothing", "label smoothing as strong as the teacher is unsure on average"
        ),
        "clean_teacher": Entry("hinton:CleanTeacher", "hinton with a teacher trained with the true labels (oracle)"),
        "oracle_clean": Entry("baseline:OracleClean", "plain training with the true labels (oracle)"),
        "oracle_subset": Entry("baseline:OracleSubset", "plain training on the rows with a true label (oracle)"),
        "co_teaching": Entry(
            "co_teaching:CoTeaching", "two networks select samples with small losses for each other (arXiv 1804.06872)"
        ),
        "jocor": Entry("jocor:JoCoR", "two networks, trained on samples on which they agree (arXiv 2003.02752)"),
        "prune": Entry("prune:Prune", "training without the rows that confident learning doubts (arXiv 1911.00068)"),
        "dividemix": Entry(
            "dividemix:DivideMix",
            "labels with large losses are replaced by two networks' predictions (arXiv 2002.07394)",
        ),
        "crt": Entry("crt:CRT", "a new classifier of the trained features, by balanced sampling (arXiv 1910.09217)"),
        "tau_norm": Entry("tau_norm:TauNorm", "plain training with a normalised classifier (arXiv 1910.09217)"),
        "dive": Entry("dive:DiVE", "balanced softmax and the flattened predictions of a teacher (arXiv 2103.15042)"),
        "smooth": Entry(
            "smooth:Smooth", "plain training with label smoothing or a consistency loss; used by --smooth-teacher"
        ),
    },
)
