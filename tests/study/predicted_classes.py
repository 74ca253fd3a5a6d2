"""Results with given predicted classes."""

import numpy as np

from robustkd.evaluation import net_metrics
from robustkd.study.agreements import pack_classes
from robustkd.study.results import Cost, RunKey, RunResult, run_name

COST = Cost(parameters=1, macs=1, images=1, seconds=1.0, teacher_seconds=0.0, images_per_second=1.0, peak_memory=None)


def make_result(
    role: str = "student", seed: int = 0, version: str = "now", agreement=None, **rows: list[int]
) -> RunResult:
    """A result with these predicted classes."""
    net = net_metrics.evaluate_predictions(np.array([0, 1]), np.eye(2, dtype=np.float32), ("a", "b"))
    return RunResult(
        run=RunKey(role=role, method="hinton", criterion="ce", seed=seed),
        name=run_name(role, "hinton", seed),
        evaluation_version=version,
        last=net,
        cost=COST,
        agreement=agreement,
        predictions={name: pack_classes(np.array(classes)) for name, classes in rows.items()},
    )
