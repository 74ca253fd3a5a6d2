"""Annotated types, their validation and descriptions, and objectives."""

from typing import Any, Literal

import pytest
import torch

from robustkd import types
from robustkd.errors import UsageError
from robustkd.types import DatasetInfo, Objective


@pytest.mark.parametrize("bound", [types.Positive, types.NonNegative, types.Ratio, types.Share])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_bounded_numbers_are_finite(bound: Any, value: float) -> None:
    with pytest.raises(UsageError, match="some: value is"):
        types.validate("some: value", bound, value)


@pytest.mark.parametrize(
    ("annotation", "description"),
    [
        (types.Positive, "number above 0"),
        (types.Ratio, "number above 1 to 1e+06"),
        (types.Count, "whole number from 1"),
        (bool, "True or False"),
        (str, "text"),
        (Literal["box", "round"], "box or round"),
    ],
)
def test_types_are_described_with_their_bounds(annotation: Any, description: str) -> None:
    assert types.describe_type(annotation) == description


def test_valid_values_are_converted_to_their_type() -> None:
    share = types.validate("rate", types.Share, 1)
    assert (share, type(share)) == (1.0, float)
    assert types.validate("rate", types.Share, "0.4") == 0.4


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        (types.Share, 1.4, "rate is 1.4 but should be less than or equal to 1"),
        (types.Positive, 0, "rate is 0 but should be greater than 0"),
        (types.Count, 1.5, "rate is 1.5 but should be a valid integer"),
        (types.Seed, 2**63, f"rate is {2**63} but should be less than {2**63}"),
        (Literal["box"], "boks", "rate is 'boks' but should be 'box'"),
    ],
)
def test_an_invalid_value_is_refused_with_its_rule(annotation: Any, value: Any, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        types.validate("rate", annotation, value)
    assert str(raised.value).startswith(message)


def test_the_loss_is_the_sum_of_the_terms_without_the_notes() -> None:
    weight = torch.tensor(2.0, requires_grad=True)
    objective = Objective({"ce": 3 * weight, "kd": weight}, notes={"temperature": torch.tensor(100.0)})
    assert objective.loss.item() == 8
    objective.loss.backward()
    assert weight.grad == 4


def test_an_objective_without_terms_has_no_loss() -> None:
    with pytest.raises(TypeError, match="no terms"):
        Objective({}).loss  # noqa: B018


def test_classes_without_rows_count_as_classes() -> None:
    assert DatasetInfo(samples=4, counts=(1, 3, 0), shape=(1, 8, 8)).classes == 3
