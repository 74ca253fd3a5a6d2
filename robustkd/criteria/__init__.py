"""Registry of criteria: the supervised losses."""

from robustkd.registry import Entry, Registry

CRITERIA = Registry(
    "criterion",
    "robustkd.criteria",
    "robustkd.criteria",
    {
        "ce": Entry("ce:CE", "cross entropy"),
        # For wrong labels
        "smooth": Entry("smooth:LabelSmoothing", "cross entropy with smoothed labels (arXiv 1512.00567)"),
        "mae": Entry("mae:MAE", "mean absolute error, which uniform label noise does not bias (arXiv 1712.09482)"),
        "gce": Entry("gce:GCE", "generalised cross entropy, between ce and mae; truncated (arXiv 1805.07836)"),
        "sce": Entry("sce:SCE", "symmetric cross entropy (arXiv 1908.06112)"),
        "nce_rce": Entry("nce_rce:NCEandRCE", "normalised plus reverse cross entropy (arXiv 2006.13554)"),
        "bootstrap_soft": Entry(
            "bootstrap:Bootstrap", "labels mixed with the predicted distribution (arXiv 1412.6596)"
        ),
        "bootstrap_hard": Entry(
            "bootstrap:Bootstrap",
            "labels mixed with the predicted class (arXiv 1412.6596)",
            {"prediction": "hard", "beta": 0.8},
        ),
        "forward": Entry("forward:Forward", "correction by a transition matrix, estimated or given (arXiv 1609.03683)"),
        "phuber": Entry("phuber:PHuber", "cross entropy, linear for improbable labels (Menon et al., ICLR 2020)"),
        "elr": Entry("elr:ELR", "early-learning regularisation: agreement with earlier predictions (arXiv 2007.00151)"),
        # For classes of different sizes
        "balanced": Entry(
            "balanced:Balanced",
            "balanced softmax: cross entropy with logits adjusted for class sizes (arXiv 2007.10740)",
        ),
        "logit_adjust": Entry("logit_adjust:LogitAdjust", "the same with a strength tau (arXiv 2007.07314)"),
        "class_balanced": Entry(
            "class_balanced:ClassBalanced", "weights by the effective number of samples (arXiv 1901.05555)"
        ),
        "focal": Entry("focal:Focal", "less weight on samples that are predicted well (arXiv 1708.02002)"),
        "ldam": Entry("ldam:LDAM", "larger margins for rare classes, on a cosine head (arXiv 1906.07413)"),
    },
)
