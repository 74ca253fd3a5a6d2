"""Numbers and lists as text: values at the edge of their rules; doctests have the ordinary ones."""

import math

import pytest

from pipelines.report.formatting import (
    MISSING,
    format_interval,
    format_p_value,
    format_points,
    format_quantity,
    format_spread,
    format_value,
    join_ends,
    join_first,
    to_sentence,
    typeset,
)


def test_shares_are_in_per_cent_and_other_metrics_are_not() -> None:
    assert format_value(0.9996) == "100.0"
    assert format_value(0.9996, "ece") == "100.0"
    assert format_value(0.9996, "nll") == "1.000"
    assert format_value(1.5, "temperature") == "1.500"


def test_one_seed_has_no_spread() -> None:
    assert format_spread(math.nan) == ""
    assert format_spread(0.0) == "± 0.0"


@pytest.mark.parametrize(
    ("share", "text"), [(0.0004, "0.0"), (-0.0004, "0.0"), (0.0006, "+0.1"), (-0.0006, "-0.1"), (-1.0, "-100.0")]
)
def test_a_difference_that_rounds_to_zero_has_no_sign(share: float, text: str) -> None:
    assert format_points(share) == text


def test_an_interval_requires_both_ends() -> None:
    assert format_interval(-0.01, math.nan) == MISSING
    assert format_interval(0.0, 0.0) == "[0.0, 0.0]"


@pytest.mark.parametrize(("p", "text"), [(0.001, "0.001"), (0.00099, "< 0.001"), (0.0, "< 0.001")])
def test_p_values_below_a_thousandth_are_not_rounded_to_zero(p: float, text: str) -> None:
    assert format_p_value(p) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (999.0, "999"),
        (999.7, "1.00 k"),
        (999_700.0, "1.00 M"),
        (9.996, "10.0"),
        (1000.0, "1.00 k"),
        (0.0123, "0.012"),
        (-1500.0, "-1.50 k"),
        (2e12, "2.00 T"),
    ],
)
def test_quantities_have_three_digits_after_rounding_too(value: float, text: str) -> None:
    assert format_quantity(value) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-0.0 and +0.0", "0.0 and 0.0"),
        ("-0.05", "−0.05"),
        ("resnet-50, cifar-10", "resnet-50, cifar-10"),
        ("(-1.5)", "(−1.5)"),
        ("a - b", "a - b"),
    ],
)
def test_hyphens_in_names_are_not_minus_signs(text: str, expected: str) -> None:
    assert typeset(text) == expected


def test_lists_up_to_the_limit_are_complete() -> None:
    assert join_first(["a", "b"], 2) == "a; b"
    assert join_first([], 2) == ""
    assert join_ends(["a", "b"], 1) == "a; b"
    assert join_ends(["a", "b", "c"], 1) == "a; …; c"


def test_nothing_is_not_a_sentence() -> None:
    assert to_sentence("") == ""
    assert to_sentence("recall of CIFAR-10") == "Recall of CIFAR-10."
