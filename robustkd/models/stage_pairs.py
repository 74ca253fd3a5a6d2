"""Pairing of the stages of a student and a teacher, for methods that compare their feature maps."""

from collections.abc import Sequence
from itertools import combinations
from math import log2
from typing import NamedTuple

from robustkd.errors import UsageError
from robustkd.models.net import Network, infer_shapes

MapShape = tuple[int, int, int]  # c, h, w


class StagePair(NamedTuple):
    """A stage of the student and one of the teacher: the indices of their maps in Output.maps, and the maps' shapes."""

    student: int
    teacher: int
    student_shape: MapShape
    teacher_shape: MapShape


def pair_stages(method: str, student: Network, teacher: Network, shape: tuple[int, int, int]) -> list[StagePair]:
    """Pair the stages of a student and a teacher, in order; the first map of a network, that of its stem, is not a stage.

    Equal numbers of stages are paired one to one. Otherwise, each stage of the network with fewer is paired with another stage
    of the other one, in order, and the last with the last. Of these pairings, the one with the most similar resolutions is
    chosen, relative to the images of each network; and of equal ones, the one with the most similar relative depths.

    Raises:
        UsageError: a network has no stage.
    """
    ours, theirs = (infer_shapes(net, shape).maps for net in (student, teacher))
    for role, maps in (("student", ours), ("teacher", theirs)):
        if len(maps) < 2:
            raise UsageError(
                f"{method}: the {role} has {len(maps)} feature map but needs that of a stem and of a stage"
            )
    scales = [_reductions(net, maps, shape) for net, maps in ((student, ours), (teacher, theirs))]
    pairs = match_in_order(*scales)
    return [StagePair(s + 1, t + 1, ours[s + 1], theirs[t + 1]) for s, t in pairs]


def match_in_order(ours: Sequence[float], theirs: Sequence[float]) -> list[tuple[int, int]]:
    """Match two sequences in order, the last with the last, with the smallest sum of differences.

    >>> match_in_order([2, 3, 4, 5], [3, 4, 5])
    [(1, 0), (2, 1), (3, 2)]
    >>> match_in_order([4, 4], [4, 4, 4, 4])  # equal sums: by relative depth
    [(0, 1), (1, 3)]
    """
    if len(ours) > len(theirs):
        return [(i, j) for j, i in match_in_order(theirs, ours)]
    *lower, last = range(len(theirs))

    def cost(chosen: tuple[int, ...]) -> tuple[float, float]:
        differences = [abs(a - theirs[j]) for a, j in zip(ours, chosen, strict=False)]
        depths = [abs((i + 1) / len(ours) - (j + 1) / len(theirs)) for i, j in enumerate(chosen)]
        return round(sum(differences), 6), round(sum(depths), 6)

    chosen = min(combinations(lower, len(ours) - 1), key=cost)
    return list(enumerate((*chosen, last)))


def _reductions(net: Network, maps: Sequence[MapShape], shape: tuple[int, int, int]) -> list[float]:
    """Return how often each stage's map is halved from the network's images."""
    side = net.image_size or shape[1]
    return [log2(side / height) for _, height, _ in maps[1:]]
