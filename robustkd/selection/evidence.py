"""The evidence of a confirmation: a finalist's differences from both references in the runs of a study."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from robustkd.errors import ExecutionError
from robustkd.evaluation.results import NetMetrics
from robustkd.selection.confirm import Evidence, weigh
from robustkd.selection.score import weighted_correctness
from robustkd.study.agreements import unpack_classes
from robustkd.study.pairing import (
    HEADLINE,
    ImageDifferences,
    Pairs,
    Part,
    average_by_draw,
    find_pairs,
    groups_of_test_rows,
    image_correctness,
    image_differences,
    shared_draws,
)
from robustkd.study.results import BASELINE, TEACHER, LoadedStudy, RunResult
from robustkd.study.run_folder import read_arrays
from robustkd.study.verdicts import headline_part

PLAIN, STOPPED = "plain training", "plain training stopped early"  # the references


def read_evidence(study: LoadedStudy, finalist: str, seeds: Sequence[int], level: float) -> dict[str, Evidence]:
    """Return the evidence of a finalist against each reference, over the seeds of a look.

    Args:
        study: with the runs of finalists and plain training; it has a folder.
        seeds: that are counted.
        level: of the intervals.

    Raises:
        ExecutionError: a run is missing, because it failed, or predictions of test images are.
    """
    results = _students(study, seeds)
    part, _ = headline_part(results, study.record, study.record.trusts_test_labels)
    pairs = find_pairs(results, finalist, BASELINE, lambda result: result.part(part))
    if missing := sorted({*seeds} - {*pairs.seeds}):
        raise ExecutionError(f"{finalist} cannot be compared: seed {missing[0]} of it or of plain training is missing")
    against = {PLAIN: image_differences(pairs, study.record, part), STOPPED: _from_stopped(study, pairs, part)}
    known = {name: weigh(*each, level=level) for name, each in against.items() if each is not None}
    if missing_references := [name for name in against if name not in known]:
        raise ExecutionError(
            f"{finalist} cannot be compared with {missing_references[0]}: predictions of the test images are missing, or are"
            " of other labels; the same command evaluates again what is damaged"
        )
    return known


def read_correctness(study: LoadedStudy, method: str, seed: int) -> NDArray[np.float64] | None:
    """Return what each test image contributes to a method's balanced accuracy with a seed (N,); None where it is not known."""
    results = _students(study, [seed])
    part, _ = headline_part(results, study.record, study.record.trusts_test_labels)
    labels = unpack_classes(study.record.test_labels if part == "last" else study.record.test_truth)
    known = labels < len(study.record.classes)
    for result in results:
        if result.run.method == method and "test" in result.predictions:
            predicted = unpack_classes(result.predictions["test"])
            return weighted_correctness(predicted[known][None], labels[known])
    return None


def difference_stopped_alike(study: LoadedStudy, finalist: str, seeds: Sequence[int]) -> float | None:
    """Return the mean difference from plain training where both are stopped early; None where either is not."""
    results = _students(study, seeds)
    part, _ = headline_part(results, study.record, study.record.trusts_test_labels)

    def early(result: RunResult) -> NetMetrics | None:
        return result.early if part == "last" else result.clean_early

    values = [
        (a.metrics[HEADLINE], b.metrics[HEADLINE])
        for own, other in zip(*find_pairs(results, finalist, BASELINE, early), strict=True)
        if (a := early(own)) is not None and (b := early(other)) is not None
    ]
    known = [a - b for a, b in values if a is not None and b is not None]
    return float(np.mean(known)) if known else None


def _students(study: LoadedStudy, seeds: Sequence[int]) -> list[RunResult]:
    """Return the results of students; teachers are trained with the method `baseline` too."""
    return [result for result in study.results if result.run.seed in seeds and result.run.role != TEACHER]


def _from_stopped(study: LoadedStudy, pairs: Pairs, part: Part) -> ImageDifferences | None:
    """Return the differences of a method's last network from plain training stopped early, whose logits are saved.

    Returns:
        None where logits or predictions are missing.
    """
    assert study.folder is not None
    labels = unpack_classes(study.record.test_labels if part == "last" else study.record.test_truth)
    known = labels < len(study.record.classes)
    rows: list[NDArray[np.float64]] = []
    for own, other in zip(*pairs, strict=True):
        arrays = read_arrays(study.folder / "runs" / other.name)
        right = image_correctness(own, labels)
        if right is None or "logits" not in arrays.get("test-early", {}):
            return None
        stopped = arrays["test-early"]["logits"].argmax(axis=1)
        rows.append((right - (stopped == labels))[known])
    values = average_by_draw(np.stack(rows), pairs.seeds, shared_draws(study.record))
    return ImageDifferences(values, labels[known], groups_of_test_rows(study.record, known))
