"""The agreement of students with their teachers, computed from the predicted classes that their results hold."""

import base64
import zlib
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from robustkd.evaluation.net_metrics import agreement
from robustkd.study.results import TEACHER, RunResult


def pack_classes(predicted: NDArray[np.int64]) -> str:
    """Encode classes as text for JSON, about half a byte each where there are ten: (n,) in 0 to 65535.

    >>> unpack_classes(pack_classes(np.array([3, 0, 3]))).tolist()
    [3, 0, 3]
    """
    return _encode(predicted, "<u2")


def unpack_classes(text: str) -> NDArray[np.int64]:
    """Decode what `pack_classes` encoded: (n,)."""
    return _decode(text, "<u2")


def pack_groups(groups: NDArray[np.int64] | None) -> str:
    """Encode which rows are of one group as text: (n,); an empty string where there are no groups, or none has several rows.

    >>> unpack_groups(pack_groups(np.array([70, 9, 70]))).tolist(), pack_groups(np.array([2, 1])), pack_groups(None)
    ([1, 0, 1], '', '')
    """
    if groups is None:
        return ""
    distinct, codes = np.unique(groups, return_inverse=True)
    return _encode(codes, "<u4") if len(distinct) < len(codes) else ""


def unpack_groups(text: str) -> NDArray[np.int64] | None:
    """Decode what `pack_groups` encoded: (n,); None for an empty string."""
    return _decode(text, "<u4") if text else None


def _encode(numbers: NDArray[np.int64], dtype: str) -> str:
    return base64.b64encode(zlib.compress(numbers.astype(dtype).tobytes(), 9)).decode("ascii")


def _decode(text: str, dtype: str) -> NDArray[np.int64]:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype).astype(np.int64)


def agreements(student: RunResult, teacher: RunResult) -> dict[str, float | None] | None:
    """Compute the agreement of two runs of one seed on test rows and corrupted training rows.

    None where they were not evaluated alike.
    """
    if not student.predictions or student.evaluation_version != teacher.evaluation_version:
        return None
    if student.predictions.keys() - teacher.predictions.keys():
        return None
    pairs = {
        rows: (unpack_classes(text), unpack_classes(teacher.predictions[rows]))
        for rows, text in student.predictions.items()
    }
    if any(len(one) != len(other) for one, other in pairs.values()):
        return None
    return {rows: agreement(*pair) for rows, pair in pairs.items()}


def add_teacher_agreement(results: Iterable[RunResult]) -> list[RunResult]:
    """Return a study's results, each student's with its agreement with its seed's teacher where that can be computed.

    Runs finish in any order, so a method without a teacher may be evaluated before its seed's teacher.
    """
    results = list(results)
    teachers: Mapping[int, RunResult] = {r.run.seed: r for r in results if r.run.row == TEACHER}

    def complete(result: RunResult) -> RunResult:
        teacher = teachers.get(result.run.seed)
        if result.run.role == TEACHER or result.agreement is not None or teacher is None:
            return result
        return result.model_copy(update={"agreement": agreements(result, teacher)})

    return [complete(result) for result in results]
