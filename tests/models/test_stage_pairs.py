"""Pairs of stages: one to one for equal numbers, by resolution and depth otherwise."""

from itertools import combinations

import pytest
from torch import nn

from robustkd.errors import UsageError
from robustkd.models.net import Network
from robustkd.models.stage_pairs import match_in_order, pair_stages
from tests.helpers import SHAPE, make_network


def truncated(stages: int, width: int) -> Network:
    net = make_network("resnet8")
    net.stages = net.stages[:stages]
    net.replace_head(nn.Linear(width, 3))
    return net


def indices(student: Network, teacher: Network) -> list[tuple[int, int]]:
    return [(pair.student, pair.teacher) for pair in pair_stages("at", student, teacher, SHAPE)]


def test_equal_numbers_of_stages_are_paired_one_to_one():
    pairs = pair_stages("at", make_network("wrn_10_1"), make_network("resnet8"), SHAPE)
    assert [(pair.student, pair.teacher) for pair in pairs] == [(1, 1), (2, 2), (3, 3)]
    assert [pair.teacher_shape for pair in pairs] == [(16, 8, 8), (32, 4, 4), (64, 2, 2)]


def test_of_more_stages_those_of_the_most_similar_resolution_are_chosen():
    assert indices(make_network("resnet8"), truncated(2, 32)) == [(1, 1), (3, 2)]
    assert indices(truncated(1, 16), make_network("resnet8")) == [(1, 3)]


def test_resolutions_are_relative_to_the_images_of_each_network():
    # ResNet-50 at 64 pixels and a network without the stage at stride 4 at 96 pixels: strides are paired with themselves.
    student, teacher = make_network("resnet8"), truncated(2, 32)
    teacher.image_size = 12
    assert indices(student, teacher) == [(1, 1), (3, 2)]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ([2.0, 3.0, 4.0, 5.0], [3.0, 4.0, 5.0]),
        ([2.0, 3.0, 4.0, 5.0], [4.0, 4.0, 4.0]),
        ([4.0] * 2, [4.0] * 5),
        ([3.0], [1.0, 2.0]),
    ],
)
def test_the_match_has_the_smallest_sum_of_differences(ours, theirs):
    matched = match_in_order(ours, theirs)
    assert matched == [(i, j) for j, i in match_in_order(theirs, ours)]
    assert matched[-1] == (len(ours) - 1, len(theirs) - 1)
    assert matched == sorted(matched)
    few, many = sorted((ours, theirs), key=len)
    total = sum(abs(ours[i] - theirs[j]) for i, j in matched)
    for chosen in combinations(many, len(few)):
        if chosen[-1] == many[-1]:
            assert total <= sum(abs(a - b) for a, b in zip(few, chosen, strict=True))


def test_a_network_without_a_stage_is_refused():
    with pytest.raises(UsageError, match="sp: the student has 1 feature map but needs that of a stem and of a stage"):
        pair_stages("sp", truncated(0, 16), make_network("resnet8"), SHAPE)
