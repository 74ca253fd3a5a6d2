"""imbalance: class sizes of the published protocols and of the equations."""

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scenarios
from robustkd.errors import UsageError
from scenarios.imbalance import Imbalance
from tests.scenarios.labelled import cifar_view


# Class sizes of the published protocol of arXiv 2007.01922, read as a power law.
@pytest.mark.parametrize(
    ("words", "sizes"),
    [
        ("imbalance0.2", [250, 375, 508, 664, 858, 1113, 1470, 2014, 2955, 5000]),
        ("imbalance0.6", [250, 440, 645, 882, 1166, 1522, 1983, 2614, 3531, 5000]),
        ("imbalance1", [250, 529, 844, 1200, 1607, 2077, 2625, 3273, 4050, 5000]),
        ("imbalance2", [250, 892, 1700, 2491, 3173, 3728, 4168, 4513, 4785, 5000]),
        ("imbalance0.4", [250, 405, 570, 762, 997, 1299, 1708, 2301, 3245, 5000]),
        ("imbalance0.8", [250, 481, 736, 1027, 1369, 1782, 2292, 2942, 3803, 5000]),
        ("imbalance1.5", [250, 683, 1203, 1765, 2343, 2916, 3475, 4011, 4520, 5000]),
        ("imbalance(0.6, form=second)", [5000, 1166, 720, 539, 440, 376, 331, 297, 271, 250]),
        ("imbalance(1, form=second)", [5000, 1607, 957, 682, 529, 433, 366, 317, 280, 250]),
        ("imbalance(2, form=second)", [5000, 3173, 1972, 1289, 892, 648, 490, 382, 306, 250]),
        ("imbalance(0.2, order=reversed)", [5000, 2955, 2014, 1470, 1113, 858, 664, 508, 375, 250]),
        ("imbalance(0.2, form=second)", [5000, 858, 557, 439, 375, 333, 304, 282, 264, 250]),
    ],
)
def test_class_sizes_are_the_published_ones(words: str, sizes: list[int]) -> None:
    assert scenarios.parse(words)(cifar_view()).counts.tolist() == sizes


# Totals of the power law with end points 5000 and 250 or 500 and 25, computed from the equation.
@pytest.mark.parametrize(
    ("classes", "words", "total"),
    [
        *(
            (10, f"imbalance{gamma}", total)
            for gamma, total in ((0.2, 15207), (0.4, 16537), (0.6, 18033), (0.8, 19682))
        ),
        *((10, f"imbalance{gamma}", total) for gamma, total in ((1, 21455), (1.5, 26166), (2, 30700))),
        *((100, f"imbalance{gamma}", total) for gamma, total in ((0.2, 20380), (0.6, 29364), (1, 37863), (2, 47009))),
        *((10, f"imbalance({gamma}, form=second)", total) for gamma, total in ((0.2, 8662), (0.6, 9390), (1, 10421))),
        (10, "imbalance(2, form=second)", 14402),
    ],
)
def test_power_laws_have_the_totals_of_the_table(classes: int, words: str, total: int) -> None:
    assert len(scenarios.parse(words)(cifar_view(classes))) == total


def test_a_larger_gamma_keeps_a_superset() -> None:
    small, large = (scenarios.parse(f"imbalance{gamma}")(cifar_view()) for gamma in (0.2, 0.6))
    assert set(small.rows) < set(large.rows)


@given(
    gamma=st.floats(0.01, 50),
    ratio=st.integers(2, 100),
    form=st.sampled_from(["first", "second"]),
    classes=st.integers(2, 12),
)
@settings(max_examples=150, deadline=None)
def test_end_points_are_the_largest_and_its_ratio_for_any_gamma(
    gamma: float, ratio: int, form: Literal["first", "second"], classes: int
) -> None:
    sizes = Imbalance(gamma, ratio, form).curve_sizes(100.0 * ratio, classes)
    ascending = sizes if form == "first" else sizes[::-1]
    assert ascending[[0, -1]].tolist() == pytest.approx([100, 100 * ratio], abs=1e-5)
    assert (np.diff(ascending) >= 0).all()


@pytest.mark.parametrize("form", ["first", "second"])
def test_sizes_match_the_equation(form: Literal["first", "second"]) -> None:
    """Solve n(1) and n(K) for a and b, and evaluate n(x) between them."""
    sizes = Imbalance(0.5, 4, form).curve_sizes(400.0, 5)
    for x, size in enumerate(sizes.tolist(), start=1):
        if form == "first":  # 100 (b + 1) = 400 (b + 5^-0.5) = a
            b = (100 - 400 * 5**-0.5) / 300
            assert size == pytest.approx(100 * (b + 1) / (b + x**-0.5), abs=1e-5)
        else:  # 400 (1 + b) = 100 (5^0.5 + b) = a
            b = (100 * 5**0.5 - 400) / 300
            assert size == pytest.approx(400 * (1 + b) / (x**0.5 + b), abs=1e-5)


@pytest.mark.parametrize(
    "words", ["imbalance0", "imbalance", "imbalance51", "imbalance(1, ratio=1)", "imbalance(1, form=3)"]
)
def test_invalid_values_are_rejected(words: str) -> None:
    with pytest.raises(UsageError):
        scenarios.parse(words)
