"""longtail: the published totals, groups and sizes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scenarios
from robustkd.data.class_groups import many_medium_few
from robustkd.errors import UsageError
from scenarios.longtail import LongTail
from tests.scenarios.labelled import cifar_view, kept_sizes, view_of_sizes


# The construction of arXiv 1906.07413 on CIFAR-10 and CIFAR-100: totals and the sizes of the smallest class.
@pytest.mark.parametrize(
    ("classes", "factor", "total", "least"),
    [
        *((10, factor, total, 5000 // factor) for factor, total in ((200, 11203), (100, 12406), (50, 13996))),
        *((10, factor, total, 5000 // factor) for factor, total in ((20, 17023), (10, 20431))),
        *((100, factor, total, 500 // factor) for factor, total in ((200, 9502), (100, 10847), (50, 12608))),
        *((100, factor, total, 500 // factor) for factor, total in ((20, 15907), (10, 19573))),
    ],
)
def test_long_tails_have_the_published_totals(classes: int, factor: int, total: int, least: int) -> None:
    counts = scenarios.parse(f"longtail{factor}")(cifar_view(classes)).counts
    assert (counts.sum(), counts.min(), counts.argmax()) == (total, least, 0)


@pytest.mark.parametrize(
    ("factor", "groups"),
    [(200, [30, 31, 39]), (100, [35, 35, 30]), (50, [41, 41, 18]), (20, [53, 47, 0]), (10, [69, 31, 0])],
)
def test_long_tails_have_the_published_groups(factor: int, groups: list[int]) -> None:
    names = many_medium_few(scenarios.parse(f"longtail{factor}")(cifar_view(100)).counts).tolist()
    assert [names.count(name) for name in ("many", "medium", "few")] == groups


def test_sizes_are_the_published_ones() -> None:
    sizes = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert scenarios.parse("longtail100")(cifar_view()).counts.tolist() == sizes


# Sizes must not depend on the last bit of a power.
@given(least=st.integers(1, 60), factor=st.sampled_from([2, 5, 10, 20, 50, 100, 200]), classes=st.integers(2, 12))
@settings(max_examples=100, deadline=None)
def test_the_last_class_has_the_size_given_by_the_factor(least: int, factor: int, classes: int) -> None:
    counts = LongTail(factor)(view_of_sizes([least * factor] * classes)).counts
    assert (counts[0], counts[-1]) == (least * factor, least)


def test_sizes_between_two_numbers_are_floored() -> None:
    assert kept_sizes("longtail10", [29] * 3) == [29, 9, 2]
    whole = [3200, 1600, 800, 400, 200, 100]  # as floats, two of them are too small by one bit
    assert kept_sizes("longtail32", [3200] * 6) == whole


def test_the_smallest_class_may_become_empty() -> None:
    assert kept_sizes("longtail100", [50] * 3) == [50, 5, 0], "rejected later for training rows"


def test_one_class_keeps_its_size() -> None:
    assert LongTail(100).curve_sizes(50.0, 1).tolist() == [50]


@pytest.mark.parametrize("words", ["longtail", "longtail1", "longtail0.5", "longtail(10, order=random)"])
def test_invalid_values_are_rejected(words: str) -> None:
    with pytest.raises(UsageError):
        scenarios.parse(words)
