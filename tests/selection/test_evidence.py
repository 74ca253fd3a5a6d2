"""The evidence of a confirmation, against differences computed in plain loops from the saved predictions."""

from pathlib import Path

import numpy as np
import pytest

from robustkd.errors import ExecutionError
from robustkd.method_spec import MethodSpec
from robustkd.selection.evidence import PLAIN, STOPPED, difference_stopped_alike, read_evidence
from robustkd.study.plan import Run
from robustkd.study.results import read_study
from robustkd.study.run_folder import read_arrays
from tests.study.conftest import data  # noqa: F401  # the fixture
from tests.study.toy_study import evaluate_untrained, write_study


def balanced(right: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean([right[labels == c].mean() for c in np.unique(labels)]))


def test_both_references_are_compared_on_the_same_images(data: Path) -> None:  # noqa: F811
    plan = write_study(data)
    kinds = (("teacher", "baseline"), ("student", "baseline"), ("student", "hinton"))
    runs = [Run(role, MethodSpec.parse(method), seed) for seed in (0, 1) for role, method in kinds]  # type: ignore[arg-type]
    evaluate_untrained(plan, *runs)
    study = read_study(plan.folder)
    found = read_evidence(study, "hinton", [0, 1], 0.05)
    expected: dict[str, list[float]] = {PLAIN: [], STOPPED: []}
    for seed in (0, 1):
        own, other = (read_arrays(plan.folder / "runs" / f"{name}-seed{seed}") for name in ("hinton", "baseline"))
        labels = own["test-last"]["labels"]
        right = balanced(own["test-last"]["logits"].argmax(axis=1) == labels, labels)
        for name, which in ((PLAIN, "test-last"), (STOPPED, "test-early")):
            expected[name].append(right - balanced(other[which]["logits"].argmax(axis=1) == labels, labels))
    assert {name: each.difference for name, each in found.items()} == pytest.approx(
        {name: np.mean(values) for name, values in expected.items()}
    )
    assert difference_stopped_alike(study, "hinton", [0, 1]) is not None
    with pytest.raises(ExecutionError, match="hinton cannot be compared: seed 2"):
        read_evidence(study, "hinton", [0, 1, 2], 0.05)
    (plan.folder / "runs" / "baseline-seed1" / "test-early.npz").unlink()
    with pytest.raises(ExecutionError, match="hinton cannot be compared with plain training stopped early"):
        read_evidence(study, "hinton", [0, 1], 0.05)
