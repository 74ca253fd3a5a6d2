"""What is compared with what in a study: each method with its reference, seed by seed, on the same test images."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustkd.evaluation.results import NetMetrics
from robustkd.study.agreements import unpack_classes, unpack_groups
from robustkd.study.results import BASELINE, RunResult, StudyRecord

HEADLINE = "balanced_accuracy"  # the metric of the verdicts
TOLERANCE = 1e-9  # within which predictions reproduce the metric that was computed from them

Part = Literal["last", "clean"]  # of the test set: all rows, or those with a known true label
Select = Callable[[RunResult], NetMetrics | None]  # the network of a run that is compared


class Pairs(NamedTuple):
    """The runs of a method and of its reference for the seeds that both have, in order."""

    own: list[RunResult]
    other: list[RunResult]

    @property
    def seeds(self) -> list[int]:
        """The seeds."""
        return [result.run.seed for result in self.own]


def find_pairs(
    results: Sequence[RunResult], method: str, reference: str, own: Select, other: Select | None = None
) -> Pairs:
    """Return the runs of two methods for the seeds for which both have the network that is compared.

    Args:
        own, other: return it from a run of the method and of the reference; by default, alike.
    """
    mine = {r.run.seed: r for r in results if r.run.method == method and own(r) is not None}
    theirs = {r.run.seed: r for r in results if r.run.method == reference and (other or own)(r) is not None}
    seeds = sorted(mine.keys() & theirs.keys())
    return Pairs([mine[seed] for seed in seeds], [theirs[seed] for seed in seeds])


class ImageDifferences(NamedTuple):
    """Differences in correctness between two networks on each test image.

    Attributes:
        values: -1, 0 or 1, or means of these over the seeds of a draw: (n, N).
        labels: the class of each image: (N,).
        groups: the group of each image (N,), None where images are independent.
    """

    values: NDArray[np.float64]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64] | None = None


def find_reference(method: str, criteria: Mapping[str, str]) -> str | None:
    """Return what a method is compared with: the baseline with its criterion, else the plain baseline, else None.

    A baseline with another criterion is itself compared with the plain baseline.

    Args:
        criteria: of every method of the study.

    >>> criteria = {"baseline": "ce", "baseline+balanced": "balanced", "hinton+balanced": "balanced"}
    >>> find_reference("hinton+balanced", criteria)
    'baseline+balanced'
    """
    own, same = criteria[method], f"{BASELINE}+{criteria[method]}"
    candidates = (BASELINE,) if method == same else (BASELINE, same)
    match = next((name for name in candidates if criteria.get(name) == own), None)
    return match or (BASELINE if BASELINE in criteria else None)


def compared_methods(criteria: Mapping[str, str], reference: str = "") -> dict[str, str]:
    """Return the methods that have a reference other than themselves, each with its reference.

    Args:
        criteria: of every method of the study.
        reference: one for all methods, as a user may request; empty for that of `find_reference`.
    """
    references = {method: reference or find_reference(method, criteria) for method in criteria}
    return {method: found for method, found in references.items() if found not in (None, method)}


def shared_draws(record: StudyRecord) -> int | None:
    """Return how many draws of the scenario the seeds of a study share; None where each has its own."""
    shared = record.options.data_seeds
    return None if shared is None or shared >= record.seeds else shared


def average_by_draw(differences: NDArray[np.float64], seeds: Sequence[int], shared: int | None) -> NDArray[np.float64]:
    """Return independent differences: by seed, or means by draw where seeds share a few draws: (n, m) -> (d, m).

    Where all share one draw they are independent given it, and the inference is about that draw only.
    """
    if shared is None or shared == 1:
        return differences
    draw = np.array(seeds) % shared
    return np.stack([differences[draw == d].mean(axis=0) for d in np.unique(draw)]) if len(seeds) else differences


def image_differences(compared: Pairs, record: StudyRecord, part: Part) -> ImageDifferences | None:
    """Return the differences in correctness of pairs of runs on the test images, averaged by draw as those of metrics are.

    Args:
        part: of the test set.

    Returns:
        None where the predictions or the labels are not recorded, as in studies of earlier versions, or where they do not
        reproduce the balanced accuracy that was measured: results and record are then of different labels.
    """
    text = record.test_labels if part == "last" else record.test_truth
    if not compared.own or not text:
        return None
    labels = unpack_classes(text)
    known = labels < len(record.classes)
    pairs = [(image_correctness(a, labels), image_correctness(b, labels)) for a, b in zip(*compared, strict=True)]
    if any(a is None or b is None for a, b in pairs):
        return None
    differences = np.stack([a[known] - b[known] for a, b in pairs if a is not None and b is not None])
    measured = [_headline(a, part) - _headline(b, part) for a, b in zip(*compared, strict=True)]
    if not np.allclose(_balanced_means(differences, labels[known]), measured, rtol=0, atol=TOLERANCE):
        return None
    return ImageDifferences(
        average_by_draw(differences, compared.seeds, shared_draws(record)),
        labels[known],
        groups_of_test_rows(record, known),
    )


def groups_of_test_rows(record: StudyRecord, known: NDArray[np.bool_]) -> NDArray[np.int64] | None:
    """Return the groups of those of the test rows (N,) whose label is known; None where rows are independent."""
    groups = unpack_groups(record.test_groups)
    return None if groups is None else groups[known]


def image_correctness(result: RunResult, labels: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """Return 1 for each image whose label was predicted, 0 for others (N,); None if the predictions are not of these images."""
    if "test" not in result.predictions:
        return None
    predicted = unpack_classes(result.predictions["test"])
    return (predicted == labels).astype(np.float64) if len(predicted) == len(labels) else None


def _headline(result: RunResult, part: Part) -> float:
    net = result.part(part)
    value = None if net is None else net.metrics[HEADLINE]
    return np.nan if value is None else value


def _balanced_means(values: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean over classes of the means over their images: (n, N) -> (n,)."""
    sizes = np.bincount(labels)
    weights = 1 / (sizes[labels] * (sizes > 0).sum())
    means: NDArray[np.float64] = values @ weights
    return means
